//! What the server and its models say about themselves, as protobuf.

use super::inference as proto;
use crate::oip;

impl From<oip::ServerMetadata> for proto::ServerMetadataResponse {
    fn from(record: oip::ServerMetadata) -> Self {
        let oip::ServerMetadata {
            name,
            version,
            extensions,
        } = record;
        Self {
            name,
            version,
            extensions,
        }
    }
}

impl From<oip::Metadata> for proto::ModelMetadataResponse {
    fn from(record: oip::Metadata) -> Self {
        let oip::Metadata {
            name,
            versions,
            platform,
            inputs,
            outputs,
        } = record;
        Self {
            name,
            versions,
            platform,
            inputs: inputs.into_iter().map(tensor).collect(),
            outputs: outputs.into_iter().map(tensor).collect(),
            properties: std::collections::HashMap::new(),
        }
    }
}

fn tensor(record: oip::TensorMetadata) -> proto::model_metadata_response::TensorMetadata {
    let oip::TensorMetadata {
        name,
        datatype,
        shape,
    } = record;
    proto::model_metadata_response::TensorMetadata {
        name,
        datatype,
        shape,
    }
}

impl From<oip::Config> for proto::ModelConfigResponse {
    fn from(record: oip::Config) -> Self {
        let oip::Config {
            name,
            platform,
            backend,
            max_batch_size,
            input,
            output,
            dynamic_batching,
        } = record;
        let config = proto::ModelConfig {
            name,
            platform,
            backend,
            max_batch_size,
            input: input
                .into_iter()
                .map(|it| proto::ModelInput {
                    data_type: data_type(&it.data_type),
                    name: it.name,
                    dims: it.dims,
                })
                .collect(),
            output: output
                .into_iter()
                .map(|it| proto::ModelOutput {
                    data_type: data_type(&it.data_type),
                    name: it.name,
                    dims: it.dims,
                    label_filename: String::new(),
                })
                .collect(),
            dynamic_batching: dynamic_batching.map(|it| proto::ModelDynamicBatching {
                max_queue_delay_microseconds: it.max_queue_delay_microseconds,
                ..proto::ModelDynamicBatching::default()
            }),
            ..proto::ModelConfig::default()
        };
        Self {
            config: Some(config),
        }
    }
}

fn data_type(name: &str) -> i32 {
    let known = proto::DataType::from_str_name(name);
    known.unwrap_or(proto::DataType::TypeInvalid).into()
}

impl From<Vec<oip::IndexEntry>> for proto::RepositoryIndexResponse {
    fn from(entries: Vec<oip::IndexEntry>) -> Self {
        let models = entries.into_iter().map(|entry| {
            let oip::IndexEntry {
                name,
                version,
                state,
                reason,
            } = entry;
            proto::repository_index_response::ModelIndex {
                name,
                version,
                state,
                reason,
            }
        });
        Self {
            models: models.collect(),
        }
    }
}

impl From<oip::Statistics> for proto::ModelStatisticsResponse {
    fn from(record: oip::Statistics) -> Self {
        Self {
            model_stats: record.model_stats.into_iter().map(statistics).collect(),
        }
    }
}

fn statistics(record: oip::ModelStatistics) -> proto::ModelStatistics {
    let oip::ModelStatistics {
        name,
        version,
        last_inference,
        inference_count,
        execution_count,
        inference_stats,
        response_stats: _,
        batch_stats,
        memory_usage: _,
    } = record;
    let oip::InferStatistics {
        success,
        fail,
        queue,
        compute_input,
        compute_infer,
        compute_output,
        cache_hit,
        cache_miss,
    } = inference_stats;
    proto::ModelStatistics {
        name,
        version,
        last_inference,
        inference_count,
        execution_count,
        inference_stats: Some(proto::InferStatistics {
            success: Some(duration(success)),
            fail: Some(duration(fail)),
            queue: Some(duration(queue)),
            compute_input: Some(duration(compute_input)),
            compute_infer: Some(duration(compute_infer)),
            compute_output: Some(duration(compute_output)),
            cache_hit: Some(duration(cache_hit)),
            cache_miss: Some(duration(cache_miss)),
        }),
        batch_stats: batch_stats
            .into_iter()
            .map(|it| proto::InferBatchStatistics {
                batch_size: it.batch_size,
                compute_input: Some(duration(it.compute_input)),
                compute_infer: Some(duration(it.compute_infer)),
                compute_output: Some(duration(it.compute_output)),
            })
            .collect(),
        memory_usage: Vec::new(),
        response_stats: std::collections::HashMap::new(),
    }
}

fn duration(record: oip::DurationStatistics) -> proto::StatisticDuration {
    proto::StatisticDuration {
        count: record.count,
        ns: record.ns,
    }
}
