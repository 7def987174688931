//! Sample events of AWS's services, in AWS's shapes, to try a function or a pattern with.
//!
//! Each is a file of `samples/`. Accounts, names and times are made up.

/// A sample event.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// How it is asked for.
    pub name: &'static str,
    /// What has happened.
    pub about: &'static str,
    /// The event.
    pub json: &'static str,
}

macro_rules! sample {
    ($name:literal, $about:literal) => {
        Sample {
            name: $name,
            about: $about,
            json: include_str!(concat!("../samples/", $name, ".json")),
        }
    };
}

/// All of them, by name.
pub const SAMPLES: &[Sample] = &[
    sample!("alb", "a request through an Application Load Balancer"),
    sample!(
        "api-gateway",
        "a request through a REST API of API Gateway (payload 1.0)"
    ),
    sample!(
        "authorizer-request",
        "API Gateway asks a REQUEST authorizer"
    ),
    sample!("authorizer-token", "API Gateway asks a TOKEN authorizer"),
    sample!("cloudformation", "CloudFormation creates a custom resource"),
    sample!(
        "cloudtrail",
        "an AWS API call, by CloudTrail and EventBridge"
    ),
    sample!(
        "cloudwatch-alarm",
        "an alarm changes its state, by EventBridge"
    ),
    sample!("cloudwatch-alarm-lambda", "an alarm invokes a function"),
    sample!("cloudwatch-logs", "log lines of a subscription, compressed"),
    sample!("codebuild", "a build ends, by EventBridge"),
    sample!(
        "codecommit",
        "a push to a CodeCommit repository, by its trigger"
    ),
    sample!(
        "codecommit-eventbridge",
        "a push to a CodeCommit repository, by EventBridge"
    ),
    sample!("codepipeline", "a pipeline invokes a function as an action"),
    sample!(
        "codepipeline-eventbridge",
        "a pipeline ends, by EventBridge"
    ),
    sample!("cognito", "Cognito asks before a user signs up"),
    sample!(
        "cognito-post-confirmation",
        "Cognito tells of a confirmed user"
    ),
    sample!("cognito-pre-token", "Cognito asks before it makes a token"),
    sample!("cognito-sync", "Cognito Sync tells of a changed dataset"),
    sample!("config", "AWS Config asks a rule of yours"),
    sample!(
        "dynamodb",
        "an item is made, changed and removed, by a DynamoDB stream"
    ),
    sample!("ec2-state-change", "an EC2 instance runs, by EventBridge"),
    sample!("ecr-push", "an image is pushed to ECR, by EventBridge"),
    sample!("ecs-task", "an ECS task runs, by EventBridge"),
    sample!("eventbridge", "an event of your own on a bus"),
    sample!("firehose", "Firehose asks for records to be changed"),
    sample!("function-url", "a request to a function URL"),
    sample!("guardduty", "GuardDuty finds something, by EventBridge"),
    sample!("health", "AWS Health tells of a problem, by EventBridge"),
    sample!(
        "http-api",
        "a request through an HTTP API of API Gateway (payload 2.0)"
    ),
    sample!("iot-button", "an AWS IoT button is pressed"),
    sample!("kafka", "records of a Kafka topic (MSK)"),
    sample!("kinesis", "a record of a Kinesis stream"),
    sample!(
        "lambda-destination",
        "what a destination receives of a failed asynchronous invocation"
    ),
    sample!("lex", "Lex asks in the middle of a conversation"),
    sample!("mq", "a message of Amazon MQ"),
    sample!("s3", "an object is put into a bucket, by its notification"),
    sample!(
        "s3-delete",
        "an object is deleted, by the bucket's notification"
    ),
    sample!(
        "s3-eventbridge",
        "an object is put into a bucket, by EventBridge"
    ),
    sample!("scheduled", "a rule with a schedule fires"),
    sample!("secrets-rotation", "Secrets Manager rotates a secret"),
    sample!("ses", "a mail arrives at SES"),
    sample!("sns", "a notification of an SNS topic"),
    sample!("sqs", "a message of an SQS queue"),
    sample!(
        "step-functions",
        "a state machine's execution ends, by EventBridge"
    ),
    sample!("websocket", "a message through a WebSocket API"),
];

/// The sample of this name.
pub fn sample(name: &str) -> Option<&'static Sample> {
    SAMPLES.iter().find(|sample| sample.name == name)
}
