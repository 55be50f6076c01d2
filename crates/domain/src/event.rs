//! What happens to models and is written down.

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// Somebody or a rule moved an alias.
    Alias,
    /// A rule of an alert did something, or somebody took it back.
    AlertAction,
    /// Attributes of keys were taken out.
    AttributesRemoved,
    /// Attributes of keys came.
    AttributesSet,
    /// A version has another baseline.
    BaselineSet,
    /// An experiment went on.
    Experiment,
    /// A model is gone with all of its versions.
    ModelRemoved,
    /// A rollout went on.
    Rollout,
    /// Another version has the traffic.
    Traffic,
    /// There is a new version.
    VersionCreated,
    /// A version is gone.
    VersionRemoved,
    /// A version may serve, or not.
    VersionState,
}

impl EventKind {
    /// All of them, by name.
    pub const ALL: [Self; 12] = [
        Self::AlertAction,
        Self::Alias,
        Self::AttributesRemoved,
        Self::AttributesSet,
        Self::BaselineSet,
        Self::Experiment,
        Self::ModelRemoved,
        Self::Rollout,
        Self::Traffic,
        Self::VersionCreated,
        Self::VersionRemoved,
        Self::VersionState,
    ];

    /// Its name, as the registry and the API have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Alias => "alias",
            Self::AlertAction => "alert_action",
            Self::AttributesRemoved => "attributes_removed",
            Self::AttributesSet => "attributes_set",
            Self::BaselineSet => "baseline_set",
            Self::Experiment => "experiment",
            Self::ModelRemoved => "model_removed",
            Self::Rollout => "rollout",
            Self::Traffic => "traffic",
            Self::VersionCreated => "version_created",
            Self::VersionRemoved => "version_removed",
            Self::VersionState => "version_state",
        }
    }

    /// The one with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_name() {
        let names = EventKind::ALL.map(EventKind::name);
        assert!(names.is_sorted());
        for kind in EventKind::ALL {
            assert_eq!(EventKind::from_name(kind.name()), Some(kind));
        }
        assert_eq!(EventKind::from_name("traffics"), None);
    }
}
