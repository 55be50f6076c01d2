//! `docs/manifest.md`: the settings of `windlass.yaml`, out of its JSON Schema.

use serde_json::Value;

use super::{code, table, titled};

/// The page.
pub(super) fn page(schema: &Value) -> String {
    let mut rows = Vec::new();
    walk(schema, schema, "", &mut rows);
    let about = "`windlass.yaml` lies beside a model and says what the model itself does not. Everything \
                 may be left out; a key that is not listed here is refused. \
                 [`windlass.schema.json`](windlass.schema.json) is the same for editors.";
    let table = table(&["setting", "values", "what it says"], rows);
    titled("windlass.yaml", "manifest", &format!("{about}\n\n{table}"))
}

/// What a schema refers to, if it does.
fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let reference = schema["$ref"].as_str().and_then(|it| it.strip_prefix('#'));
    let found = reference.and_then(|it| root.pointer(it));
    found.map_or(schema, |it| resolve(root, it))
}

/// The alternatives of a schema; itself where there are none. `null` is "left out" and no alternative.
fn alternatives<'a>(root: &'a Value, schema: &'a Value) -> Vec<&'a Value> {
    let schema = resolve(root, schema);
    let lists = ["anyOf", "oneOf"]
        .into_iter()
        .filter_map(|key| schema[key].as_array());
    let all: Vec<&Value> = lists.flatten().filter(|it| it["type"] != "null").collect();
    if all.is_empty() {
        return vec![schema];
    }
    all.into_iter()
        .flat_map(|it| alternatives(root, it))
        .collect()
}

fn walk(root: &Value, schema: &Value, parent: &str, rows: &mut Vec<Vec<String>>) {
    for alternative in alternatives(root, schema) {
        if alternative["items"].is_object() {
            walk(root, &alternative["items"], &format!("{parent}[]"), rows);
        }
        let Some(properties) = alternative["properties"].as_object() else {
            continue;
        };
        // Which kind it is that has these settings, where there are several.
        let kind = properties.values().find_map(|it| it["const"].as_str());
        let place = kind.map_or_else(|| parent.to_owned(), |it| format!("{parent} ({it})"));
        for (name, property) in properties {
            if property["const"].is_string() {
                continue;
            }
            let path = if place.is_empty() {
                name.clone()
            } else {
                format!("{place}.{name}")
            };
            let about = property["description"].as_str();
            let about = about.or(resolve(root, property)["description"].as_str());
            let about = about
                .unwrap_or_default()
                .replace('\n', " ")
                .replace('|', "\\|");
            rows.push(vec![code(&path), values(root, property), about]);
            walk(root, property, &path, rows);
        }
    }
}

fn values(root: &Value, schema: &Value) -> String {
    let mut all: Vec<String> = Vec::new();
    for it in alternatives(root, schema) {
        let value = value(root, it);
        if !all.contains(&value) {
            all.push(value);
        }
    }
    all.join(" or ")
}

fn value(root: &Value, schema: &Value) -> String {
    if let Some(kind) = schema["properties"]
        .as_object()
        .and_then(|it| it.values().find_map(|it| it["const"].as_str()))
    {
        return format!("`type: {kind}`");
    }
    if let Some(word) = schema["const"].as_str() {
        return code(word);
    }
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<String> = words.iter().filter_map(Value::as_str).map(code).collect();
        return words.join(", ");
    }
    let named = match &schema["type"] {
        Value::Array(types) => types
            .iter()
            .filter_map(Value::as_str)
            .find(|it| *it != "null"),
        named => named.as_str(),
    };
    match named {
        Some("array") => format!("list of {}", values(root, &schema["items"])),
        Some("object") if schema["additionalProperties"].is_object() => {
            format!("name to {}", values(root, &schema["additionalProperties"]))
        }
        Some("object") => "settings".to_owned(),
        Some("string") => "text".to_owned(),
        Some("integer" | "number") => match (&schema["minimum"], &schema["maximum"]) {
            (Value::Number(least), Value::Number(most)) => format!("{least} to {most}"),
            _ => "number".to_owned(),
        },
        Some("boolean") => "true or false".to_owned(),
        Some(other) => other.to_owned(),
        None => String::new(),
    }
}
