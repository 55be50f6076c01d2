//! What `serve` says when it is up: where, and how to ask what it serves.

use std::fmt::Write;

use domain::ModelName;
use serde::{Deserialize, Serialize};

use super::Site;
use crate::client::Client;
use crate::output::Output;

/// A longer request is not for pasting.
const PASTE_BYTES_MAX: usize = 3000;

/// What is up, for programs.
#[derive(Serialize)]
struct Up<'a> {
    url: &'a str,
    grpc: Option<&'a str>,
    models: &'a [Asked],
}

/// A model and how it is asked.
#[derive(Serialize)]
pub(crate) struct Asked {
    pub(crate) model: String,
    pub(crate) version: Option<u32>,
    /// A request with real values, where there are some.
    pub(crate) sample: Option<serde_json::Value>,
}

/// What `/api/v1/models/{m}` tells that matters here.
#[derive(Deserialize)]
struct Detail {
    traffic: wire::api::TrafficRecord,
    #[serde(default)]
    sample: Option<serde_json::Value>,
}

/// How a model is asked.
pub(crate) async fn asked(client: &Client, model: &ModelName) -> anyhow::Result<Asked> {
    let detail: Detail = client.get(&format!("/api/v1/models/{model}")).await?;
    Ok(Asked {
        model: model.to_string(),
        version: detail.traffic.version,
        sample: detail.sample,
    })
}

/// Says it.
pub(crate) fn print(output: Output, site: &Site, models: &[Asked]) -> anyhow::Result<()> {
    let up = Up {
        url: &site.url,
        grpc: site.grpc.as_deref(),
        models,
    };
    if output.json {
        // In one line: whoever started us reads on while we run.
        return output.line(&serde_json::to_string(&up)?);
    }
    output.line(&if output.quiet {
        site.url.clone()
    } else {
        text(site, models)
    })
}

fn text(site: &Site, models: &[Asked]) -> String {
    let url = &site.url;
    let mut text = format!("Windlass {} serves at {url}\n", env!("CARGO_PKG_VERSION"));
    // Writing to a string cannot fail.
    if !site.at.ip().is_loopback() {
        let _ = writeln!(
            text,
            "It listens at {}: whoever reaches it may use and change it.",
            site.at
        );
    }
    if models.is_empty() {
        text.push_str("\nNo model is served yet: `windlass push PATH` registers one.\n");
    }
    for model in models {
        let version = model
            .version
            .map_or_else(String::new, |it| format!(":{it}"));
        let _ = writeln!(text, "\n{}{version}", model.model);
        let _ = writeln!(text, "  {}", curl(url, model).replace('\n', "\n  "));
    }
    let grpc = site
        .grpc
        .as_deref()
        .unwrap_or_else(|| url.trim_start_matches("http://"));
    let _ = write!(
        text,
        "\nConsole  {url}\nOpenAPI  {url}/api/v1/openapi.json\nMetrics  {url}/metrics\ngRPC     {grpc}\n\
         Ctrl-C stops it."
    );
    text
}

/// A line for a shell that asks the model and works as it stands.
pub(crate) fn curl(url: &str, asked: &Asked) -> String {
    let Asked { model, sample, .. } = asked;
    let Some(sample) = sample else {
        return format!("curl {url}/v2/models/{model}");
    };
    let sample = sample.to_string();
    if sample.len() > PASTE_BYTES_MAX {
        return format!(
            "curl -s {url}/api/v1/models/{model}/sample |\n  \
             curl -s {url}/v2/models/{model}/infer -H 'content-type: application/json' -d @-"
        );
    }
    // The only character that ends a quoted word of a shell.
    let quoted = sample.replace('\'', r"'\''");
    format!("curl {url}/v2/models/{model}/infer -H 'content-type: application/json' -d '{quoted}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_one_that_a_shell_reads_back() {
        let sample = serde_json::json!({"inputs": [{"name": "job", "data": ["it's \"one\" $x"]}]});
        let asked = Asked {
            model: "m".to_owned(),
            version: Some(1),
            sample: Some(sample.clone()),
        };
        let line = curl("http://h:1", &asked);
        let script = line.replacen("curl", "set --", 1) + "; printf %s \"$5\"";
        let run = std::process::Command::new("sh")
            .arg("-c")
            .arg(script)
            .output();
        let said = run.expect("a shell").stdout;
        let read: serde_json::Value = serde_json::from_slice(&said).expect("JSON");
        assert_eq!(read, sample);
    }
}
