//! Operations that one service runs for another inside the process, decoded, authorized and run on the same path as those
//! that come over HTTP.

use std::borrow::Cow;

use bytes::Bytes;

use crate::router::{Mount, Row, failure_error};
use crate::{Authorizer, Context, Error, Member, Node, Protocol, Router, Schema, Witness};

/// An operation to be run from inside.
pub struct Call<'a> {
    mount: &'a Mount,
    index: usize,
    witness: Option<&'a dyn Witness>,
}

impl Router {
    /// The operation that a service has under a name, if it is built. `model` is botocore's name of the service.
    pub fn operation(&self, model: &str, operation: &str) -> Option<Call<'_>> {
        let mut mounts = self.mounts().iter();
        let mount = mounts.find(|mount| mount.profile().model == model)?;
        let index = mount.row_named(operation)?;
        let witness = self.witness();
        Some(Call {
            mount,
            index,
            witness,
        })
    }
}

impl Call<'_> {
    fn row(&self) -> &Row {
        self.mount.row(self.index)
    }

    /// Reads parameters as the SDKs name them: member names in PascalCase whatever they are on the wire, blobs as text.
    ///
    /// # Errors
    /// If they are not a JSON object, or hold a member that the operation has not.
    pub fn parameters(&self, json: &[u8]) -> Result<Node, Error> {
        let refuse = |why: String| Error::new(self.mount.profile().validation.0, 400, why);
        let node: Node = serde_json::from_slice(json).map_err(|error| refuse(error.to_string()))?;
        match node {
            node @ Node::Map(_) => as_on_the_wire(node, &(self.row().input)(), "").map_err(refuse),
            _ => Err(refuse("The parameters are not a JSON object.".to_owned())),
        }
    }

    /// Decodes, authorizes and runs. The caller is the context's.
    ///
    /// # Errors
    /// What a client would be told.
    pub async fn run(
        &self,
        parameters: Node,
        cx: &Context,
        authorizer: &dyn Authorizer,
    ) -> Result<Node, Error> {
        let protocol = self.mount.profile().protocols.first();
        let protocol = protocol.copied().unwrap_or(Protocol::RestJson);
        let (mount, witness) = (self.mount, self.witness);
        let ran = mount.run(self.index, cx, authorizer, witness, parameters);
        ran.await
            .map_err(|failure| failure_error(self.mount.profile(), protocol, failure))
    }
}

/// Gives members their names on the wire, and makes blobs of text.
fn as_on_the_wire(node: Node, schema: &Schema, path: &str) -> Result<Node, String> {
    match (node, schema) {
        (Node::Map(given), Schema::Structure(members)) => {
            let named = given.into_iter().map(|(name, value)| {
                let path = format!("{path}{name}");
                let member = members.iter().find(|member| is_named(member, &name));
                let member = member.ok_or_else(|| format!("The parameter {path} is not known."))?;
                let value = as_on_the_wire(value, &(member.schema)(), &format!("{path}."))?;
                Ok((Cow::Borrowed(member.name), value))
            });
            named.collect::<Result<_, String>>().map(Node::Map)
        }
        (Node::Map(entries), Schema::Map(value_schema)) => {
            let schema = value_schema();
            let mapped = entries
                .into_iter()
                .map(|(key, value)| Ok((key, as_on_the_wire(value, &schema, path)?)));
            mapped.collect::<Result<_, String>>().map(Node::Map)
        }
        (Node::List(items), Schema::List(item_schema)) => {
            let schema = item_schema();
            let items = items
                .into_iter()
                .map(|item| as_on_the_wire(item, &schema, path));
            items.collect::<Result<_, String>>().map(Node::List)
        }
        (Node::String(text), Schema::Blob) => Ok(Node::Bytes(Bytes::from(text.into_owned()))),
        (node, _) => Ok(node),
    }
}

/// The first letter may be a capital where the wire has a small one, and the other way round.
fn is_named(member: &Member, name: &str) -> bool {
    let split = |text: &str| -> Option<(char, String)> {
        let mut letters = text.chars();
        Some((letters.next()?.to_ascii_lowercase(), letters.collect()))
    };
    split(member.name) == split(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Shape;

    /// Members as they are on several wires.
    #[derive(crate::Shape)]
    struct Parameters {
        function_name: Option<String>,
        payload: Option<crate::Blob>,
        #[shape(name = "logGroupName")]
        log_group_name: Option<String>,
        tags: Option<std::collections::BTreeMap<String, String>>,
        inner: Option<Vec<Inner>>,
    }

    #[derive(crate::Shape)]
    #[shape(rename_all = "camelCase")]
    struct Inner {
        some_value: Option<i64>,
    }

    #[track_caller]
    fn check(given: &str, expected: Result<&str, &str>) {
        let node: Node = serde_json::from_str(given).expect("JSON");
        let named = as_on_the_wire(node, &Parameters::schema(), "");
        let printed = named.map(|node| serde_json::to_string(&node).expect("JSON"));
        assert_eq!(
            printed.as_deref().map_err(String::as_str),
            expected,
            "{given}"
        );
    }

    #[test]
    fn names_and_blobs() {
        check(r#"{"FunctionName":"x"}"#, Ok(r#"{"FunctionName":"x"}"#));
        check(
            r#"{"LogGroupName":"x","logGroupName":"y"}"#,
            Ok(r#"{"logGroupName":"x","logGroupName":"y"}"#),
        );
        check(r#"{"Payload":"{}"}"#, Ok(r#"{"Payload":"e30="}"#));
        check(
            r#"{"Tags":{"Anything":"x"}}"#,
            Ok(r#"{"Tags":{"Anything":"x"}}"#),
        );
        check(
            r#"{"Inner":[{"SomeValue":1}]}"#,
            Ok(r#"{"Inner":[{"someValue":1}]}"#),
        );
        check(
            r#"{"FunctioName":"x"}"#,
            Err("The parameter FunctioName is not known."),
        );
        check(
            r#"{"Inner":[{"Other":1}]}"#,
            Err("The parameter Inner.Other is not known."),
        );
        // What has the wrong type is the decoder's business.
        check(r#"{"Inner":7}"#, Ok(r#"{"Inner":7}"#));
    }
}
