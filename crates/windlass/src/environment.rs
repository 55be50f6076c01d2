//! The environment variables that Windlass reads, declared once; nothing else reads the environment.

use std::ffi::OsString;
use std::path::PathBuf;

/// One variable: its name and what it does.
pub(crate) struct Variable {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
}

macro_rules! environment {
    ($($field:ident = $name:literal, $about:literal;)*) => {
        /// Their values; none where a variable is not set or empty.
        #[derive(Clone, Debug, Default)]
        pub(crate) struct Environment {
            $(#[doc = $about] pub(crate) $field: Option<OsString>,)*
        }

        /// All of them, in the order of the documentation.
        pub(crate) const ALL: &[Variable] = &[
            $(Variable { name: $name, about: $about },)*
        ];

        impl Environment {
            /// Reads them.
            pub(crate) fn read() -> Self {
                Self { $($field: std::env::var_os($name).filter(|it| !it.is_empty()),)* }
            }
        }
    };
}

environment! {
    data_dir = "WINDLASS_DATA_DIR", "The data folder, where `--data-dir` is not given.";
    server = "WINDLASS_SERVER", "The address of a running server, where `--server` is not given.";
    runtime = "WINDLASS_ONNXRUNTIME", "The ONNX Runtime library, where `--runtime` is not given.";
    xdg_data_home = "XDG_DATA_HOME", "Where data folders lie: the default one is `windlass` in it.";
    no_color = "NO_COLOR", "Where it is set, `windlass top` draws without colour.";
    home = "HOME", "The default data folder is `.local/share/windlass` in it, where `XDG_DATA_HOME` is not set.";
    sagemaker_port = "SAGEMAKER_BIND_TO_PORT", "In a SageMaker container: the port to serve at.";
    vertex_port = "AIP_HTTP_PORT", "In a Vertex AI container: the port to serve at.";
    vertex_health = "AIP_HEALTH_ROUTE", "In a Vertex AI container: the path that is asked whether the server is well.";
    vertex_predict = "AIP_PREDICT_ROUTE", "In a Vertex AI container: the path that predictions are asked at.";
    vertex_storage = "AIP_STORAGE_URI", "In a Vertex AI container: where the model is. A folder or a `file://` address; a `gs://` one is refused.";
}

impl Environment {
    /// The data folder where no flag says otherwise; none on a machine without a home.
    pub(crate) fn data_dir(&self) -> Option<PathBuf> {
        if let Some(folder) = &self.data_dir {
            return Some(folder.into());
        }
        // The XDG specification says to pass over a relative path.
        let data = self
            .xdg_data_home
            .as_ref()
            .map(PathBuf::from)
            .filter(|it| it.is_absolute());
        let home = || {
            self.home
                .as_ref()
                .map(|it| PathBuf::from(it).join(".local/share"))
        };
        Some(data.or_else(home)?.join("windlass"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_folder_is_the_first_that_is_named() {
        let mut environment = Environment {
            home: Some("/h".into()),
            ..Environment::default()
        };
        let check = |environment: &Environment, want: &str| {
            assert_eq!(environment.data_dir(), Some(PathBuf::from(want)));
        };
        check(&environment, "/h/.local/share/windlass");
        environment.xdg_data_home = Some("not/absolute".into());
        check(&environment, "/h/.local/share/windlass");
        environment.xdg_data_home = Some("/x".into());
        check(&environment, "/x/windlass");
        environment.data_dir = Some("d".into());
        check(&environment, "d");
        assert_eq!(Environment::default().data_dir(), None);
    }
}
