use domain::ModelName;
use domain::alert::{Evidence, Fact, Finding, Moment, Severity, Verdict};

use super::looks::{Asked, BYTES_MAX, Kind, LOOKS_MAX, NewLook};
use super::tests::new_version;
use super::*;

async fn registry() -> (tempfile::TempDir, Registry) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let registry = Registry::open(&folder.path().join("registry.db"))
        .await
        .expect("a new registry");
    for model in ["m", "n"] {
        registry
            .create_version(new_version(model, "a", change()))
            .await
            .expect("a version");
    }
    (folder, registry)
}

fn change() -> Change {
    Change {
        at: UnixMillis(1),
        who: "ann".to_owned(),
        why: String::new(),
    }
}

fn name(model: &str) -> ModelName {
    model.parse().expect("a name")
}

fn finding(model: &str, monitor: &str, subject: &str, verdict: Verdict) -> Finding {
    Finding {
        model: name(model),
        version: Version::new(1),
        monitor: monitor.to_owned(),
        subject: subject.to_owned(),
        segment: (verdict == Verdict::Bad).then(|| "Home=rent".to_owned()),
        verdict,
        severity: Severity::Ticket,
        summary: format!("{subject} was looked at"),
        evidence: Evidence::from([
            ("effect".to_owned(), Fact::Number(0.25)),
            ("question".to_owned(), Fact::Text("shape".to_owned())),
        ]),
    }
}

async fn keep(registry: &Registry, at: i64, kind: Kind, findings: &[Finding]) {
    let look = NewLook {
        model: &findings[0].model,
        version: Version::new(1).expect("a version"),
        at: Moment(at),
        kind,
        findings,
    };
    registry.keep_look(&look).await.expect("kept");
}

const ALL: Asked<'_> = Asked {
    monitor: None,
    subject: None,
    within: (Moment(i64::MIN), Moment(i64::MAX)),
    before: None,
    limit: 10,
};

#[tokio::test]
async fn looks_are_read_as_they_were_kept() {
    let (_folder, registry) = registry().await;
    let drift = [
        finding("m", "drift", "age", Verdict::Bad),
        finding("m", "quality", "mae", Verdict::Unknown),
    ];
    let slo = [finding("m", "slo", "fast", Verdict::Fine)];
    keep(&registry, 1000, Kind::Windows, &drift).await;
    keep(&registry, 2000, Kind::Series, &slo).await;
    keep(&registry, 3000, Kind::Windows, &drift[1..]).await;
    let other = [finding("n", "drift", "age", Verdict::Fine)];
    keep(&registry, 4000, Kind::Windows, &other).await;
    let model = name("m");
    let asked = async |asked: Asked<'_>| {
        let looks = registry.looks(&model, &asked).await.expect("looks");
        let of = |it: looks::Look| (it.at.0, it.findings);
        looks.into_iter().map(of).collect::<Vec<_>>()
    };
    let all = [
        (3000, drift[1..].to_vec()),
        (2000, slo.to_vec()),
        (1000, drift.to_vec()),
    ];
    assert_eq!(asked(ALL).await, all);
    let of_drift = Asked {
        monitor: Some("drift"),
        ..ALL
    };
    assert_eq!(asked(of_drift).await, [(1000, drift[..1].to_vec())]);
    let of_mae = Asked {
        subject: Some("mae"),
        ..ALL
    };
    let mae = drift[1..].to_vec();
    assert_eq!(asked(of_mae).await, [(3000, mae.clone()), (1000, mae)]);
    let neither = Asked {
        monitor: Some("drift"),
        ..of_mae
    };
    assert_eq!(asked(neither).await, []);
    let within = Asked {
        within: (Moment(2000), Moment(3000)),
        ..ALL
    };
    assert_eq!(asked(within).await, all[1..2]);
    let newest = Asked { limit: 1, ..ALL };
    assert_eq!(asked(newest).await, all[..1]);
    let ids = registry.looks(&model, &ALL).await.expect("looks");
    let before = Asked {
        before: Some(ids[1].id),
        ..ALL
    };
    assert_eq!(asked(before).await, all[2..]);
    let newest = registry.newest_looks().await.expect("looks");
    let newest: Vec<(&str, i64)> = newest
        .iter()
        .map(|(model, it)| (model.as_str(), it.at.0))
        .collect();
    assert_eq!(newest, [("m", 2000), ("m", 3000), ("n", 4000)]);
    registry
        .remove_model(&model, &change())
        .await
        .expect("removed");
    assert_eq!(asked(ALL).await, []);
    let slo = &slo[..];
    let look = NewLook {
        model: &model,
        version: Version::new(1).expect("a version"),
        at: Moment(5000),
        kind: Kind::Series,
        findings: slo,
    };
    let refused = registry.keep_look(&look).await;
    assert!(matches!(refused, Err(Refusal::UnknownModel { .. })));
}

#[tokio::test]
async fn the_oldest_looks_of_a_model_give_way() {
    let (_folder, registry) = registry().await;
    let other = [finding("n", "drift", "age", Verdict::Fine)];
    keep(&registry, 0, Kind::Windows, &other).await;
    let (model, findings) = (name("m"), [finding("m", "drift", "age", Verdict::Fine)]);
    keep(&registry, 0, Kind::Windows, &findings).await;
    sqlx::query(
        "WITH RECURSIVE more (at) AS (SELECT 1 UNION ALL SELECT at + 1 FROM more WHERE at < ?)
         INSERT INTO looks (model_id, version, at_ms, series, format, findings)
         SELECT model_id, version, more.at, series, format, findings FROM looks, more
         WHERE model_id = (SELECT id FROM models WHERE name = 'm') ORDER BY more.at",
    )
    .bind(LOOKS_MAX - 1)
    .execute(&registry.writer)
    .await
    .expect("more of them");
    for at in LOOKS_MAX..LOOKS_MAX + 3 {
        keep(&registry, at, Kind::Windows, &findings).await;
    }
    let looks = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM looks");
    let looks = looks.fetch_one(&registry.readers).await.expect("a number");
    assert_eq!(looks, LOOKS_MAX + 1, "those of the other model stay");
    let oldest = Asked {
        within: (Moment(0), Moment(4)),
        ..ALL
    };
    let oldest = registry.looks(&model, &oldest).await.expect("looks");
    let at: Vec<i64> = oldest.iter().map(|it| it.at.0).collect();
    assert_eq!(at, [3]);
}

#[tokio::test]
async fn large_looks_give_way_by_their_size() {
    let (_folder, registry) = registry().await;
    let text = "x".repeat(usize::try_from(BYTES_MAX / 4).expect("small"));
    let mut large = finding("m", "drift", "age", Verdict::Fine);
    large.summary = text.clone();
    let kept = async || {
        let all = ALL;
        let looks = registry.looks(&name("m"), &all).await.expect("looks");
        looks.iter().map(|it| it.at.0).collect::<Vec<i64>>()
    };
    for at in 0..5 {
        keep(&registry, at, Kind::Windows, &[large.clone()]).await;
    }
    // Four would be a little more than there is room for.
    assert_eq!(kept().await, [4, 3, 2]);
    let small = finding("m", "drift", "age", Verdict::Fine);
    keep(&registry, 5, Kind::Windows, &[small]).await;
    assert_eq!(kept().await, [5, 4, 3, 2]);
    large.summary = text.repeat(5);
    keep(&registry, 6, Kind::Windows, &[large]).await;
    assert_eq!(kept().await, [6], "the newest is in any case");
}
