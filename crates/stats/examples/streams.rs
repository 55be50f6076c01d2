//! Shows streams to detectors and prints when they spoke, all as JSON; `tests/streams_check.py` runs it.
//!
//! Each line of standard input is `{"detector": "adwin", "settings": {"delta": 0.01}, "values": [0.5, 1]}`.
//! Settings left out are the usual ones, and `direction` is `"up"`, `"down"` or `"both"`. Where a detector
//! asks for errors, a value of 1 is one. Each answer is `{"warnings": [..], "drifts": [..]}`: indices from 0.
//! A number that JSON has no word for is a string: `"nan"`.

#![allow(clippy::print_stdout)]

mod lines;

use std::io::{self, BufRead};

use lines::{Fields, Outcome};
use serde_json::json;
use stats::{
    Adwin, AdwinSettings, Ddm, DdmSettings, Direction, Eddm, EddmSettings, HddmA, HddmSettings,
    HddmW, PageHinkley, PageHinkleySettings, Verdict,
};

fn main() -> Outcome<()> {
    for line in io::stdin().lock().lines() {
        let line = line?;
        let fields = Fields::read(&line)?;
        let settings = Fields::read(fields.text("settings")?)?;
        let mut add = detector(fields.text("detector")?, &settings)?;
        let (mut warnings, mut drifts) = (Vec::new(), Vec::new());
        for (index, value) in fields.numbers::<f64>("values")?.into_iter().enumerate() {
            match add(value) {
                Verdict::Quiet => {}
                Verdict::Warning => warnings.push(index),
                Verdict::Drift => drifts.push(index),
            }
        }
        println!("{}", json!({"warnings": warnings, "drifts": drifts}));
    }
    Ok(())
}

fn detector(name: &str, settings: &Fields) -> Outcome<Box<dyn FnMut(f64) -> Verdict>> {
    Ok(match name {
        "adwin" => {
            let mut detector = Adwin::new(adwin(settings)?);
            Box::new(move |value| detector.add(value))
        }
        "page_hinkley" => {
            let mut detector = PageHinkley::new(page_hinkley(settings)?);
            Box::new(move |value| detector.add(value))
        }
        "ddm" => {
            let mut detector = Ddm::new(DdmSettings {
                values_min: settings.or("values_min", DdmSettings::USUAL.values_min)?,
                warning: settings.or("warning", DdmSettings::USUAL.warning)?,
                drift: settings.or("drift", DdmSettings::USUAL.drift)?,
            });
            Box::new(move |value| detector.add(value == 1.0))
        }
        "eddm" => {
            let mut detector = Eddm::new(EddmSettings {
                errors_min: settings.or("errors_min", EddmSettings::USUAL.errors_min)?,
                warning: settings.or("warning", EddmSettings::USUAL.warning)?,
                drift: settings.or("drift", EddmSettings::USUAL.drift)?,
            });
            Box::new(move |value| detector.add(value == 1.0))
        }
        "hddm_a" => {
            let mut detector = HddmA::new(hddm(settings)?);
            Box::new(move |value| detector.add(value))
        }
        "hddm_w" => {
            let lambda = settings.or("lambda", HddmW::LAMBDA_USUAL)?;
            let mut detector = HddmW::new(hddm(settings)?, lambda);
            Box::new(move |value| detector.add(value))
        }
        name => return Err(format!("no detector `{name}`").into()),
    })
}

fn adwin(settings: &Fields) -> Outcome<AdwinSettings> {
    let usual = AdwinSettings::USUAL;
    Ok(AdwinSettings {
        delta: settings.or("delta", usual.delta)?,
        clock: settings.or("clock", usual.clock)?,
        buckets_max: settings.or("buckets_max", usual.buckets_max)?,
        window_min: settings.or("window_min", usual.window_min)?,
        grace: settings.or("grace", usual.grace)?,
    })
}

fn page_hinkley(settings: &Fields) -> Outcome<PageHinkleySettings> {
    let usual = PageHinkleySettings::USUAL;
    let direction = settings.or("direction", "both".to_owned())?;
    Ok(PageHinkleySettings {
        values_min: settings.or("values_min", usual.values_min)?,
        delta: settings.or("delta", usual.delta)?,
        threshold: settings.or("threshold", usual.threshold)?,
        alpha: settings.or("alpha", usual.alpha)?,
        direction: match direction.as_str() {
            "up" => Direction::Up,
            "down" => Direction::Down,
            "both" => Direction::Both,
            other => return Err(format!("no direction `{other}`").into()),
        },
    })
}

fn hddm(settings: &Fields) -> Outcome<HddmSettings> {
    let usual = HddmSettings::USUAL;
    Ok(HddmSettings {
        drift: settings.or("drift", usual.drift)?,
        warning: settings.or("warning", usual.warning)?,
        two_sided: settings.or("two_sided", usual.two_sided)?,
    })
}
