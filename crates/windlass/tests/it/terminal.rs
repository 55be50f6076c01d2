//! A terminal in a folder of its own: commands in, what they print out.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// A folder with the example models in it (`credit`, `lightgbm`) and an empty data folder.
pub(crate) struct Terminal {
    folder: tempfile::TempDir,
}

/// A server that runs, and is killed when it is dropped.
pub(crate) struct Running {
    child: Child,
    _stdout: BufReader<ChildStdout>,
    /// What it said when it was up.
    pub(crate) up: serde_json::Value,
}

/// From the package's folder, in which its tests are run. Where they were compiled may be another checkout that shares a
/// target folder with this one.
const EXAMPLES: &str = "../../examples/credit";

impl Terminal {
    pub(crate) fn new() -> Self {
        let terminal = Self {
            folder: tempfile::tempdir().expect("a folder"),
        };
        for (model, name) in [("pipeline", "credit"), ("lightgbm", "lightgbm")] {
            let target = terminal.path(name);
            std::fs::create_dir(&target).expect("made");
            for entry in std::fs::read_dir(format!("{EXAMPLES}/{model}")).expect("it is there") {
                let entry = entry.expect("it is there");
                std::fs::copy(entry.path(), target.join(entry.file_name())).expect("copied");
            }
        }
        terminal
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("made");
        std::fs::write(path, bytes).expect("written");
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).expect("it is there")
    }

    /// `windlass` with these arguments, in the folder, with nothing in its environment but what it needs.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.here(env!("CARGO_BIN_EXE_windlass"));
        command.args(arguments);
        command
    }

    fn here(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", variable("PATH").unwrap_or_default())
            .env("WINDLASS_DATA_DIR", "data")
            .env("WINDLASS_ONNXRUNTIME", runtime());
        command
    }

    /// What a shell script prints, errors among it. It may mount file systems: nobody else sees them, and
    /// they are gone when it ends. `$WINDLASS` is the program.
    pub(crate) fn shell(&self, script: &str) -> String {
        let output = self
            .here("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-euc"])
            .arg(format!("exec 2>&1\n{script}"))
            .env("WINDLASS", env!("CARGO_BIN_EXE_windlass"))
            .output()
            .expect("it starts");
        let said = String::from_utf8(output.stdout).expect("it is text");
        assert!(output.status.success(), "{said}");
        said.lines()
            .map(|it| replaced(it).trim_end().to_owned() + "\n")
            .collect()
    }

    /// What a command prints, on standard output and with `! ` in front on standard error, and the exit
    /// status where it is not 0. Moments, digests and the folder's own path are replaced by words.
    fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().expect("it starts");
        let mut said = String::from_utf8(output.stdout).expect("it is text");
        let errors = String::from_utf8(output.stderr).expect("it is text");
        for line in errors.lines() {
            let _ = writeln!(said, "! {line}");
        }
        match output.status.code() {
            Some(0) => {}
            code => {
                let _ = writeln!(said, "=> {code:?}");
            }
        }
        let folder = self.folder.path().display().to_string();
        let words = |line: &str| {
            replaced(&line.replace(&folder, "FOLDER"))
                .trim_end()
                .to_owned()
        };
        said.lines().map(words).collect::<Vec<_>>().join("\n")
    }

    /// Runs each line that begins with `$ ` and compares what it prints with the lines below it.
    pub(crate) fn check(&self, script: &str) {
        let indent = script
            .lines()
            .filter(|it| !it.trim().is_empty())
            .map(|it| it.len() - it.trim_start().len())
            .min()
            .unwrap_or(0);
        let lines: Vec<&str> = script
            .lines()
            .map(|it| it.get(indent..).unwrap_or("").trim_end())
            .collect();
        let want = lines.join("\n").trim().to_owned();
        let mut got = String::new();
        for line in &lines {
            let Some(command) = line.strip_prefix("$ ") else {
                continue;
            };
            let arguments: Vec<&str> = command.split_whitespace().collect();
            let _ = write!(got, "{line}\n{}\n", self.run(&arguments));
        }
        let plain = |text: &str| {
            let lines = text.lines().filter(|it| !it.is_empty());
            lines.map(str::to_owned).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(plain(&got), plain(&want), "what was printed:\n{got}");
    }

    /// `windlass serve` with these arguments, at a free port. It is up when this returns.
    pub(crate) fn serve(&self, arguments: &[&str]) -> Running {
        let mut command = self.command(&["serve", "--port", "0", "--json"]);
        command.args(arguments);
        Running::start(command)
    }
}

impl Running {
    /// Starts a `serve --json` and waits until it is up.
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("it is text");
        let Ok(up) = serde_json::from_str(&line) else {
            let mut errors = String::new();
            let mut stderr = child.stderr.take().expect("it is piped");
            stderr.read_to_string(&mut errors).expect("it is text");
            panic!("it did not come up: {errors}");
        };
        // From here on the log is nobody's, and a full pipe must not stop the server.
        drop(child.stderr.take());
        Self {
            child,
            _stdout: stdout,
            up,
        }
    }

    /// Its address.
    pub(crate) fn url(&self) -> &str {
        self.up["url"].as_str().expect("it says so")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("it runs");
    }

    /// The exit status, once it has ended.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        self.child.wait().expect("it ends").code()
    }

    /// A request whose body of `length` bytes does not come; the server has read its head.
    pub(crate) fn begin(&self, method: &str, path: &str, length: usize) -> TcpStream {
        let host = self.url().trim_start_matches("http://");
        let mut stream = TcpStream::connect(host).expect("it listens");
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\
             Expect: 100-continue\r\n\r\n"
        )
        .expect("it reads");
        let mut line = String::new();
        BufReader::new(&stream)
            .read_line(&mut line)
            .expect("it answers");
        assert_eq!(line.trim(), "HTTP/1.1 100 Continue");
        stream
    }

    /// Returns when nothing listens at its address any more.
    pub(crate) fn wait_until_it_takes_no_more(&self) {
        let host = self.url().trim_start_matches("http://");
        while TcpStream::connect(host).is_ok() {
            std::thread::yield_now();
        }
    }

    /// The status and the body of an answer to a request.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let host = self.url().trim_start_matches("http://");
        let mut stream = TcpStream::connect(host).expect("it listens");
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
        .expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("it is HTTP");
        let status = head.split(' ').nth(1).and_then(|it| it.parse().ok());
        (status.expect("it is HTTP"), body.to_owned())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// ONNX Runtime as the tests use it.
pub(crate) fn runtime() -> PathBuf {
    let named = variable("WINDLASS_ONNXRUNTIME").map(PathBuf::from);
    let cached = || {
        let base = variable("XDG_CACHE_HOME")
            .filter(|it| !it.is_empty())
            .map(PathBuf::from);
        let home = || variable("HOME").map(|it| Path::new(&it).join(".cache"));
        Some(
            base.or_else(home)?
                .join("windlass/runtime/libonnxruntime.so"),
        )
    };
    let library = named.or_else(cached).filter(|it| it.is_file());
    library.expect("the tests need ONNX Runtime: run `cargo xtask setup`")
}

#[expect(clippy::disallowed_methods, reason = "tests are told where things are")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The line with `MOMENT` for moments and `DIGEST` for digests.
fn replaced(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while !rest.is_empty() {
        let moment: String = rest
            .chars()
            .take(16)
            .map(|c| if c.is_ascii_digit() { '0' } else { c })
            .collect();
        let digest = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
        if moment == "0000-00-00 00:00" {
            text.push_str("MOMENT");
            rest = &rest[16..];
        } else if digest == 64 {
            text.push_str("DIGEST");
            rest = &rest[64..];
        } else {
            let width = rest.chars().next().map_or(1, char::len_utf8);
            text.push_str(&rest[..width]);
            rest = &rest[width..];
        }
    }
    text
}
