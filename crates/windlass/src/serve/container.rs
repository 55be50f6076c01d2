//! What container platforms tell a model server, where it was told nothing else.
//!
//! SageMaker: the model lies in `/opt/ml/model`, the port is in `SAGEMAKER_BIND_TO_PORT`
//! (<https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html>).
//! Vertex AI: port, routes and the model's place are in `AIP_*`
//! (<https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements>).

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use server::ContainerRoutes;

use crate::environment::Environment;
use crate::failure::Failure;

/// Where SageMaker unpacks a model.
pub(crate) const SAGEMAKER_MODEL: &str = "/opt/ml/model";

/// What the platform wants.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Container {
    pub(crate) port: Option<u16>,
    pub(crate) model: Option<PathBuf>,
    pub(crate) routes: ContainerRoutes,
}

/// Reads what the platform wants. `sagemaker_model` is [`SAGEMAKER_MODEL`] but in tests.
pub(crate) fn read(
    environment: &Environment,
    sagemaker_model: &Path,
) -> Result<Container, Failure> {
    let ports = [
        ("SAGEMAKER_BIND_TO_PORT", &environment.sagemaker_port),
        ("AIP_HTTP_PORT", &environment.vertex_port),
    ];
    let named = ports
        .into_iter()
        .find_map(|(name, value)| Some((name, value.as_deref()?)));
    let port = named
        .map(|(name, value)| read_port(name, value))
        .transpose()?;
    let model = match &environment.vertex_storage {
        Some(place) => Some(read_storage(place)?),
        None => sagemaker_model.is_dir().then(|| sagemaker_model.to_owned()),
    };
    let routes = ContainerRoutes {
        health: read_route("AIP_HEALTH_ROUTE", environment.vertex_health.as_deref())?,
        predict: read_route("AIP_PREDICT_ROUTE", environment.vertex_predict.as_deref())?,
    };
    Ok(Container {
        port,
        model,
        routes,
    })
}

fn read_port(name: &str, value: &OsStr) -> Result<u16, Failure> {
    value
        .to_str()
        .and_then(|it| it.parse().ok())
        .ok_or_else(|| {
            let message = format!(
                "{name} is `{}`, want a port from 0 to 65535",
                value.display()
            );
            Failure::usage(message, "unset it or mend it, or use `--port`")
        })
}

fn read_route(name: &str, value: Option<&OsStr>) -> Result<Option<String>, Failure> {
    let Some(value) = value else { return Ok(None) };
    let route = value.to_str().filter(|it| {
        // Braces and `*` mean something to the router.
        it.starts_with('/')
            && it
                .chars()
                .all(|c| c.is_ascii_graphic() && !"{}*?#".contains(c))
    });
    let route = route.ok_or_else(|| {
        let message = format!(
            "{name} is `{}`, want a path such as `/predict`",
            value.display()
        );
        Failure::usage(message, "unset it or mend it")
    })?;
    Ok(Some(route.to_owned()))
}

fn read_storage(place: &OsStr) -> Result<PathBuf, Failure> {
    let text = place.to_string_lossy();
    match text.split_once("://") {
        None => Ok(place.into()),
        Some(("file", path)) => Ok(path.into()),
        Some((scheme, _)) => {
            let message = format!("AIP_STORAGE_URI is `{text}`: `{scheme}://` is not read");
            let hint = "copy the model into the image, or mount the bucket, and set a folder";
            Err(Failure::refused(message, hint))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(set: impl FnOnce(&mut Environment)) -> Environment {
        let mut environment = Environment::default();
        set(&mut environment);
        environment
    }

    #[test]
    fn nothing_is_wanted_outside_of_a_container() {
        let got = read(&Environment::default(), Path::new("/nowhere")).expect("it is read");
        assert_eq!(got, Container::default());
    }

    #[test]
    fn each_platform_says_where_and_what() {
        let folder = tempfile::tempdir().expect("a folder");
        let sagemaker = environment(|it| it.sagemaker_port = Some("8081".into()));
        let got = read(&sagemaker, folder.path()).expect("it is read");
        assert_eq!(got.port, Some(8081));
        assert_eq!(got.model.as_deref(), Some(folder.path()));
        let vertex = environment(|it| {
            it.vertex_port = Some("8080".into());
            it.vertex_health = Some("/health".into());
            it.vertex_predict = Some("/predict".into());
            it.vertex_storage = Some("file:///m".into());
        });
        let got = read(&vertex, Path::new("/nowhere")).expect("it is read");
        assert_eq!(got.model, Some(PathBuf::from("/m")));
        assert_eq!(got.routes.health.as_deref(), Some("/health"));
        assert_eq!(got.routes.predict.as_deref(), Some("/predict"));
    }

    #[test]
    fn what_cannot_be_honoured_is_refused() {
        let check = |environment: Environment, want: &str| {
            let failure = read(&environment, Path::new("/nowhere")).expect_err("it is wrong");
            assert_eq!(failure.message, want);
        };
        check(
            environment(|it| it.vertex_port = Some("http".into())),
            "AIP_HTTP_PORT is `http`, want a port from 0 to 65535",
        );
        check(
            environment(|it| it.vertex_predict = Some("/{x}".into())),
            "AIP_PREDICT_ROUTE is `/{x}`, want a path such as `/predict`",
        );
        check(
            environment(|it| it.vertex_storage = Some("gs://b/m".into())),
            "AIP_STORAGE_URI is `gs://b/m`: `gs://` is not read",
        );
    }
}
