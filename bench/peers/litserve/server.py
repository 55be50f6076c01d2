"""LitServe: a FastAPI front process and one worker process that groups requests."""

import litserve

from model import PORT, ROWS_MAX, WAIT_MS, Model, lists


class Predict(litserve.LitAPI):
    def setup(self, device):
        self.model = Model()

    def decode_request(self, request):
        return self.model.row(request)

    def batch(self, inputs):
        return inputs

    def predict(self, inputs):
        return self.model.run(inputs) if ROWS_MAX == 1 else self.model.run_batch(inputs)

    def unbatch(self, output):
        return output

    def encode_response(self, output):
        return lists(output)


if __name__ == "__main__":
    api = Predict(max_batch_size=ROWS_MAX, batch_timeout=WAIT_MS / 1000)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=60)
    server.run(
        host="127.0.0.1",
        port=PORT,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
