//! `windlass serve`: opens the data folder and the ports, registers what was named, and serves until told
//! to stop.

pub(crate) mod banner;
mod container;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use domain::alert::receiver::Receivers;
use domain::budget::Prices;
use domain::ledger::Mode;
use domain::limits::Limits;
use domain::{ModelName, Reference, Selector};
use server::{Hostnames, Server};
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::client::Client;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::models::change;
use crate::output::Output;
use crate::push;

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  windlass serve model.onnx              registers the file as model `model` and serves it
  windlass serve ./credit --name risk    a folder, under a name of its own
  windlass serve ./model_repository      every model of a Triton repository
  windlass serve credit iris             models that were pushed before
  windlass serve                         every model that has traffic

A file or folder that is new gets its model's traffic. One that was there before keeps what it had: a
server that begins again with the same command line undoes no rollout and no `windlass traffic`.

In a container of SageMaker or Vertex AI:
  The port, the routes and the model's place are taken from SAGEMAKER_BIND_TO_PORT, AIP_HTTP_PORT,
  AIP_HEALTH_ROUTE, AIP_PREDICT_ROUTE, AIP_STORAGE_URI and /opt/ml/model when nothing is named. Such a
  container must be reached from outside of it, which has to be said:
    ENTRYPOINT [\"sh\", \"-c\", \"exec windlass serve --host 0.0.0.0 --open\"]

Stopping:
  SIGTERM or Ctrl-C takes no more requests, lets those under way finish and ends; a second one ends at
  once.")]
pub(crate) struct ServeArgs {
    /// Files or folders of models, or names of models that were pushed; without any, every model that
    /// has traffic. What is a file or folder here is taken as one
    #[arg(value_name = "PATH_OR_NAME")]
    what: Vec<String>,
    /// The name of the model at the one path given [default: its folder's or file's name]
    #[arg(long)]
    name: Option<ModelName>,
    /// The port for all protocols; 0 takes a free one [default: 8080]
    #[arg(long)]
    port: Option<u16>,
    /// The address to listen at
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// A second port, for clients that want gRPC at one of its own; 0 takes a free one
    #[arg(long, value_name = "PORT")]
    grpc_port: Option<u16>,
    /// Listens at an address that other machines reach. Anybody there may use and change the models:
    /// there is no access control yet, so the network must be trusted
    #[arg(long)]
    open: bool,
    /// A name by which browsers may reach it besides `localhost` and addresses, where a proxy on this machine passes
    /// requests on. May be given again. With `--open` they may use any
    #[arg(long, value_name = "NAME")]
    hostname: Vec<String>,
    /// Sets an upper bound, such as `body_bytes_max=1048576`; `docs/limits.md` lists them
    #[arg(long = "limit", value_name = "NAME=VALUE", value_parser = read_limit)]
    limits: Vec<(String, u64)>,
    /// Lets callers on this machine pass tensors in system shared memory
    #[arg(long)]
    system_shared_memory: bool,
    /// What is kept of the predictions of models whose windlass.yaml does not say: `commit` (an answer leaves
    /// when its row is on disk), `buffered` (when it would survive the end of the process) or `off`
    #[arg(long, value_name = "MODE", default_value = "buffered")]
    ledger: Mode,
    /// What resources cost: a YAML file with `currency`, `cpu_hour`, `accelerator_hour`, `memory_gib_hour`.
    /// With it every prediction has a cost, and models may have budgets
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
    /// Who is told of alerts: a YAML file with `receivers`; `docs/alerts.md` has all of it. Without it nobody
    /// is, and `windlass alerts` lists them
    #[arg(long, value_name = "FILE")]
    alerts: Option<PathBuf>,
}

fn read_limit(text: &str) -> Result<(String, u64), String> {
    let (name, value) = text.split_once('=').ok_or("want NAME=VALUE")?;
    let value = value
        .replace('_', "")
        .parse()
        .map_err(|_| format!("`{value}` is no number"))?;
    Limits::default().set(name, value)?;
    Ok((name.to_owned(), value))
}

fn read_prices(path: &Path) -> anyhow::Result<Prices> {
    let (text, file) = read_yaml(path, "name a YAML file with prices")?;
    Ok(store::format::parse_prices(&text, &file)?)
}

fn read_receivers(path: &Path) -> anyhow::Result<Receivers> {
    let (text, file) = read_yaml(path, "name a YAML file with receivers")?;
    let mut receivers = store::format::parse_receivers(&text, &file)?;
    // Files that it names lie beside it.
    let folder = path.parent().unwrap_or(Path::new(""));
    for ca in receivers
        .receivers
        .iter_mut()
        .filter_map(|it| it.ca.as_mut())
    {
        *ca = folder.join(&ca);
    }
    Ok(receivers)
}

/// A file's text, and what errors call it.
fn read_yaml(path: &Path, hint: &'static str) -> Result<(String, String), Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let message = format!("`{}` cannot be read: {error}", path.display());
        Failure::not_found(message, hint)
    })?;
    Ok((text, path.display().to_string()))
}

/// Runs `windlass serve`.
pub(crate) async fn run(context: &Context, args: ServeArgs) -> anyhow::Result<Exit> {
    if let Some(server) = &context.server {
        let message = format!("`serve` starts a server of its own, and `{server}` is named");
        return Err(Failure::usage(message, "leave out `--server`, unset WINDLASS_SERVER").into());
    }
    let mut config = context.config()?;
    for (name, value) in &args.limits {
        config
            .limits
            .set(name, *value)
            .map_err(|why| Failure::usage(why, "`docs/limits.md` lists the limits"))?;
    }
    config.shared_memory = args.system_shared_memory;
    config.hostnames = match args.open {
        true => Hostnames::Any,
        false => Hostnames::Only(args.hostname.clone()),
    };
    config.ledger_mode = args.ledger;
    config.prices = args.prices.as_deref().map(read_prices).transpose()?;
    config.alerts = args.alerts.as_deref().map(read_receivers).transpose()?;
    let mut what = wanted(&args.what)?;
    let mut port = args.port;
    if what.is_empty() {
        let container =
            container::read(&context.environment, Path::new(container::SAGEMAKER_MODEL))?;
        port = port.or(container.port);
        what.extend(container.model.map(Wanted::Path));
        config.container = container.routes;
    }
    if args.name.is_some() && !matches!(what.as_slice(), [Wanted::Path(_)]) {
        let message = "`--name` names the model at one path";
        return Err(Failure::usage(message, "give one path, or leave out `--name`").into());
    }
    let ip = address(&args.host, args.open).await?;
    // The ports first: finding one taken after a large model was registered would be late. They are
    // listened at when everything answers, so that a probe that connects means it.
    let mut sockets = vec![bind(ip, port.unwrap_or(8080))?];
    if let Some(port) = args.grpc_port {
        sockets.push(bind(ip, port)?);
    }
    let limits = config.limits.clone();
    let server = Server::open(config).await?;
    let site = Site::new(&sockets)?;
    let models = settle(context, &server, &what, args.name.as_ref(), &limits).await?;
    let client = Client::local(server.front());
    let mut asked = Vec::with_capacity(models.len());
    for model in &models {
        asked.push(banner::asked(&client, model).await?);
    }
    drop(client);
    let mut listeners = Vec::with_capacity(sockets.len());
    for socket in sockets {
        listeners.push(
            socket
                .listen(BACKLOG)
                .map_err(|error| bind_failure(site.at, &error))?,
        );
    }
    server.announce(&site.url)?;
    banner::print(context.output, &site, &asked)?;
    until_stopped(server, listeners, context.output).await
}

/// What shall be served.
enum Wanted {
    Path(PathBuf),
    Name(ModelName),
}

fn wanted(what: &[String]) -> Result<Vec<Wanted>, Failure> {
    let one = |text: &String| {
        let path = Path::new(text);
        if path.exists() {
            return Ok(Wanted::Path(path.to_owned()));
        }
        let missing = || {
            let message = format!("no file or folder `{text}`, and it is no model's name either");
            Failure::not_found(message, "check the path, or see `windlass list` for names")
        };
        let reference: Reference = text.parse().map_err(|_| missing())?;
        match reference.selector {
            Selector::Traffic => Ok(Wanted::Name(reference.model)),
            Selector::Version(_) | Selector::Alias(_) => {
                let message = format!("`{text}` is one version; a model is served by its name");
                let hint = format!(
                    "`windlass serve {}` answers `{text}` too, once it is loaded; `windlass traffic` \
                     sends the model's traffic to a version",
                    reference.model
                );
                Err(Failure::usage(message, hint))
            }
        }
    };
    what.iter().map(one).collect()
}

/// The address to listen at, which is not this machine's own only when that is wanted.
async fn address(host: &str, open: bool) -> Result<IpAddr, Failure> {
    let unknown = |why: String| {
        Failure::usage(
            format!("`--host {host}` is no address: {why}"),
            "give an IP address",
        )
    };
    let mut found = tokio::net::lookup_host((host, 0))
        .await
        .map_err(|it| unknown(it.to_string()))?;
    let ip = found
        .next()
        .ok_or_else(|| unknown("nothing has that name".to_owned()))?
        .ip();
    if !ip.is_loopback() && !open {
        let message = format!("`{host}` is reached from other machines, and `--open` is not given");
        let hint = "there is no access control yet: listen at 127.0.0.1, or add `--open` where \
                    everybody on the network may use and change the models";
        return Err(Failure::refused(message, hint));
    }
    Ok(ip)
}

/// Connections that the system accepts before we do.
pub(crate) const BACKLOG: u32 = 1024;

/// Takes a port without listening at it yet.
pub(crate) fn bind(ip: IpAddr, port: u16) -> Result<TcpSocket, Failure> {
    let at = SocketAddr::new(ip, port);
    let bound = || {
        let socket = if ip.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        // A server that ended a moment ago leaves connections behind that keep the port.
        socket.set_reuseaddr(true)?;
        socket.bind(at)?;
        Ok(socket)
    };
    bound().map_err(|error| bind_failure(at, &error))
}

fn bind_failure(at: SocketAddr, error: &std::io::Error) -> Failure {
    let (ip, port) = (at.ip(), at.port());
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            let message = format!("port {port} at {ip} is taken");
            let hint =
                "stop what listens there, give another `--port`, or `--port 0` for a free one";
            Failure::not_now(message, hint)
        }
        std::io::ErrorKind::PermissionDenied => {
            let message = format!("this user may not listen at port {port}");
            Failure::refused(message, "give a `--port` from 1024 up")
        }
        _ => {
            let message = format!("port {port} at {ip} cannot be listened at: {error}");
            Failure::refused(message, "give an address of this machine with `--host`")
        }
    }
}

/// Where a server can be reached.
pub(crate) struct Site {
    /// From this machine.
    pub(crate) url: String,
    /// The second port's, where there is one.
    pub(crate) grpc: Option<String>,
    /// Where it listens.
    pub(crate) at: SocketAddr,
}

impl Site {
    /// Finds out.
    pub(crate) fn new(sockets: &[TcpSocket]) -> anyhow::Result<Self> {
        let mut addresses = Vec::new();
        for socket in sockets {
            addresses.push(socket.local_addr().context("asking for the port")?);
        }
        let [at, more @ ..] = addresses.as_slice() else {
            anyhow::bail!("no port to listen at")
        };
        let url = format!("http://{}", near(*at));
        Ok(Self {
            url,
            grpc: more.first().map(|it| near(*it).to_string()),
            at: *at,
        })
    }
}

/// The address by which this machine reaches what listens at `at`.
fn near(at: SocketAddr) -> SocketAddr {
    let ip = match at.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, at.port())
}

/// Registers what is at the paths and loads all that is wanted. What was named must come up; of what was
/// not, a model that does not is told and left out.
async fn settle(
    context: &Context,
    server: &Server,
    what: &[Wanted],
    name: Option<&ModelName>,
    limits: &Limits,
) -> anyhow::Result<Vec<ModelName>> {
    let mut all = Vec::new();
    if what.is_empty() {
        for (model, outcome) in server.want_all().await? {
            match outcome {
                Ok(()) => all.push(model),
                Err(refusal) => tracing::error!(%model, %refusal, "is not served"),
            }
        }
        return Ok(all);
    }
    let client = Client::local(server.front());
    for one in what {
        match one {
            Wanted::Name(model) => {
                let serving = || format!("serving `{model}`");
                server.want(model).await.with_context(serving)?;
                all.push(model.clone());
            }
            Wanted::Path(path) => {
                let serving = || format!("serving `{}`", path.display());
                let pushed = push::push(&client, context.output, path, name, limits);
                for pushed in pushed.await.with_context(serving)? {
                    context.output.note(&pushed.to_string());
                    change::route_served(&client, context.output, &pushed).await?;
                    server.want(&pushed.model).await.with_context(serving)?;
                    if !all.contains(&pushed.model) {
                        all.push(pushed.model);
                    }
                }
            }
        }
    }
    Ok(all)
}

/// Serves until a signal comes, then drains; a second signal does not wait for that.
async fn until_stopped(
    server: Server,
    listeners: Vec<TcpListener>,
    output: Output,
) -> anyhow::Result<Exit> {
    let mut signals = Signals::new()?;
    let (tell, told) = tokio::sync::oneshot::channel();
    let stop = async {
        // Dropped or used, it means the same.
        let _ = told.await;
    };
    let twice = async {
        signals.next().await;
        output.note("stopping: requests under way are finished; once more to end at once");
        // The server may have ended by itself.
        let _ = tell.send(());
        signals.next().await;
    };
    tokio::select! {
        () = server.run(listeners, stop) => Ok(Exit::Done),
        () = twice => Ok(Exit::Interrupted),
    }
}

/// The signals that ask a process to end.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// From now on they no longer end the process by themselves.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Resolves at the next one.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_loopback_needs_no_word() {
        for host in ["127.0.0.1", "::1", "localhost"] {
            assert!(address(host, false).await.is_ok(), "{host}");
        }
        for host in ["0.0.0.0", "::", "192.0.2.1"] {
            let failure = address(host, false).await.expect_err(host);
            assert_eq!(failure.exit, Exit::Refused, "{host}");
            assert!(address(host, true).await.is_ok(), "{host}");
        }
    }

    #[test]
    fn limits_are_read_and_checked() {
        assert_eq!(read_limit("rank_max=8"), Ok(("rank_max".to_owned(), 8)));
        assert_eq!(
            read_limit("body_bytes_max=1_000_000").map(|it| it.1),
            Ok(1_000_000)
        );
        for text in [
            "rank_max",
            "rank_max=",
            "rank_max=-1",
            "rank_max=0",
            "no_such=1",
        ] {
            assert!(read_limit(text).is_err(), "{text}");
        }
    }
}
