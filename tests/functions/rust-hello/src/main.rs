//! Does as the event says.

use lambda_runtime::{Error, LambdaEvent, service_fn, streaming::Body};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    if std::env::var("STREAM").is_ok() {
        return lambda_runtime::run(service_fn(stream)).await;
    }
    lambda_runtime::run(service_fn(handler)).await
}

async fn handler(event: LambdaEvent<Value>) -> Result<Value, Error> {
    match event.payload.as_str() {
        Some("error") => Err("it went wrong".into()),
        Some("panic") => panic!("at the disco"),
        Some("context") => Ok(json!({
            "id": event.context.request_id,
            "arn": event.context.invoked_function_arn,
            "name": event.context.env_config.function_name,
            "memory": event.context.env_config.memory,
        })),
        _ => Ok(event.payload),
    }
}

async fn stream(_event: LambdaEvent<Value>) -> Result<lambda_runtime::streaming::Response<Body>, Error> {
    let (mut sender, body) = lambda_runtime::streaming::channel();
    tokio::spawn(async move {
        for part in ["one ", "two ", "three"] {
            if sender.send_data(part.into()).await.is_err() {
                return;
            }
        }
    });
    Ok(lambda_runtime::streaming::Response::from(body))
}
