//! What every command is given: where things are and how to talk.

use std::path::PathBuf;

use domain::limits::Limits;

use crate::cli::Global;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::output::Output;
use crate::runtime;

/// The command line's general part, settled.
pub(crate) struct Context {
    pub(crate) output: Output,
    pub(crate) data_dir: PathBuf,
    /// The server to talk to, where one is named.
    pub(crate) server: Option<String>,
    /// The library, where a flag names it.
    pub(crate) runtime: Option<PathBuf>,
    pub(crate) environment: Environment,
}

impl Context {
    /// Settles flags and environment.
    pub(crate) fn new(global: Global, environment: Environment) -> Result<Self, Failure> {
        let data_dir = global
            .data_dir
            .or_else(|| environment.data_dir())
            .ok_or_else(|| {
                let message = "no data folder: neither HOME nor XDG_DATA_HOME is set";
                Failure::usage(message, "name one with `--data-dir DIR`")
            })?;
        let server = global.server.map(Ok).or_else(|| {
            let text = environment.server.clone()?.into_string();
            Some(text.map_err(|_| {
                Failure::usage(
                    "WINDLASS_SERVER is not text",
                    "set it to `http://HOST:PORT`",
                )
            }))
        });
        Ok(Self {
            output: Output {
                json: global.json,
                quiet: global.quiet,
            },
            data_dir,
            server: server.transpose()?,
            runtime: global.runtime,
            environment,
        })
    }

    /// The same, with another data folder and no server but one of our own.
    pub(crate) fn at(&self, data_dir: PathBuf) -> Self {
        Self {
            output: self.output,
            data_dir,
            server: None,
            runtime: self.runtime.clone(),
            environment: self.environment.clone(),
        }
    }

    /// How a server of our own is set up; `serve` changes what its flags say.
    pub(crate) fn config(&self) -> Result<server::Config, Failure> {
        let places = runtime::candidates_for(self)?
            .into_iter()
            .map(|it| it.library);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(server::Config {
            data_dir: self.data_dir.clone(),
            engine: server::EngineSource::Library(places.collect()),
            limits: Limits::default(),
            shared_memory: false,
            hostnames: server::Hostnames::Any,
            cores,
            container: server::ContainerRoutes::default(),
            ledger_mode: domain::ledger::Mode::default(),
            prices: None,
            alerts: None,
        })
    }
}
