//! Functions and layers in memory, and the one way to change them: edit a copy, write it with compare-and-swap, show it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use engine::FunctionSpec;
use store::{Expect, record};
use wire::{Arn, Scope};

use crate::Inner;
use crate::error::Error;
use crate::record::{
    Content, FUNCTIONS, FunctionRecord, LAYERS, LastUpdate, LayerRecord, State, VERSIONS,
    VersionRecord, function_key, layer_key, read_key, version_key,
};
use crate::recursion;
use crate::wishes::Wishes;

/// How often a change is tried anew after somebody else's came first.
const TRIES_MAX: usize = 16;

/// A function as it is in memory: the record, and what is made of it once for many requests.
pub(crate) struct Function {
    pub at: Scope,
    pub name: String,
    pub record: FunctionRecord,
    /// The store's revision of the record.
    pub stored: u64,
    /// What versions are made of, by the name of their record.
    pub contents: HashMap<String, Arc<Content>>,
    /// What `$LATEST` runs as: while an update is on its way, still what it ran as before.
    latest: Option<Runnable>,
    versions: BTreeMap<u64, Runnable>,
    /// Resource policies as JSON, by qualifier.
    policies: BTreeMap<String, Arc<str>>,
    /// What stands for it in the lineage of a trace.
    pub lineage_name: String,
}

/// A specification to run, or why there is none.
pub(crate) type Runnable = Result<Arc<FunctionSpec>, String>;

impl Function {
    /// The function's ARN, or with a qualifier a version's or alias's.
    pub(crate) fn arn(&self, qualifier: Option<&str>) -> Arn {
        Arn::function(&self.at, &self.name, qualifier)
    }

    /// What a published version is made of.
    pub(crate) fn version(&self, number: u64) -> Option<&Arc<Content>> {
        let head = self.record.versions.get(&number)?;
        self.contents.get(&head.content)
    }

    /// The policy of the function (`""`) or of a version or alias, as JSON.
    pub(crate) fn policy(&self, qualifier: &str) -> Option<Arc<str>> {
        self.policies.get(qualifier).cloned()
    }

    /// What runs as this version (`None`: `$LATEST`); `None` while there is nothing yet.
    pub(crate) fn runnable(&self, version: Option<u64>) -> Option<&Runnable> {
        match version {
            None => self.latest.as_ref(),
            Some(number) => self.versions.get(&number),
        }
    }

    /// What is likely to be called: what aliases name, what was published last, and the function itself. Others are when
    /// somebody does.
    fn likely(&self) -> impl Iterator<Item = &Arc<FunctionSpec>> {
        let aliases = self.record.aliases.values();
        let named = aliases.flat_map(|alias| alias.weights.keys().chain([&alias.version]));
        let named = named.filter_map(|version| version_number(version));
        let last = self.record.versions.last_key_value();
        let numbers: BTreeSet<u64> = named.chain(last.map(|(number, _)| *number)).collect();
        let versions = numbers.into_iter().map(Some).chain([None]);
        versions.filter_map(|version| self.runnable(version)?.as_ref().ok())
    }

    /// Whether this version's environments begin where an init at publishing ended.
    pub(crate) fn has_snap_start(&self, version: Option<u64>) -> bool {
        let content = version.and_then(|number| self.version(number));
        content.is_some_and(|content| content.snap_start)
    }

    /// The state of a version.
    pub(crate) fn state(&self, version: Option<u64>) -> &State {
        match version.and_then(|number| self.record.versions.get(&number)) {
            Some(version) => &version.head.state,
            None => &self.record.latest_head.state,
        }
    }
}

/// A version's number out of a qualifier that is one.
pub(crate) fn version_number(qualifier: &str) -> Option<u64> {
    let digits = !qualifier.is_empty() && qualifier.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| qualifier.parse().ok())?
}

impl Inner {
    /// Reads everything from the store. Versions that no function names are what a crash left; they are removed.
    pub(crate) async fn load(&self) -> Result<(), Error> {
        let mut contents: HashMap<String, Arc<Content>> = HashMap::new();
        for (key, entry) in self.kv.scan_all(VERSIONS).await? {
            let version: VersionRecord = record::decode(&entry.value)?;
            contents.insert(key, Arc::new(version.content));
        }
        let mut records: Vec<(String, u64, FunctionRecord)> = Vec::new();
        for (key, entry) in self.kv.scan_all(FUNCTIONS).await? {
            records.push((key, entry.revision, record::decode(&entry.value)?));
        }
        // The engine makes most ready of what it hears of last.
        records.sort_by_key(|(_, _, record)| record.latest.modified_ms);
        for (key, revision, record) in records {
            let (at, name) = read_key(FUNCTIONS, &key)
                .ok_or_else(|| Error::Internal(format!("a record has the odd key {key}")))?;
            let mut own = HashMap::new();
            for version in record.versions.values() {
                let key = version_key(&at, &name, &record.id, &version.content);
                let content = contents
                    .remove(&key)
                    .ok_or_else(|| Error::Internal(format!("the version {key} is missing")))?;
                own.insert(version.content.clone(), content);
            }
            self.show(&at, &name, record, revision, own, None);
        }
        for orphan in contents.into_keys() {
            self.kv.delete(&orphan, Expect::Any).await?;
        }
        for (key, entry) in self.kv.scan_all(LAYERS).await? {
            let (at, name) = read_key(LAYERS, &key)
                .ok_or_else(|| Error::Internal(format!("a record has the odd key {key}")))?;
            let layer: LayerRecord = record::decode(&entry.value)?;
            let shown = Layer {
                record: layer,
                stored: entry.revision,
            };
            self.layers
                .install(&at, &name, entry.revision, Some(Arc::new(shown)));
        }
        Ok(())
    }

    /// The function, or AWS's error that names it with the qualifier asked for.
    pub(crate) fn function(
        &self,
        at: &Scope,
        name: &str,
        qualifier: Option<&str>,
    ) -> Result<Arc<Function>, Error> {
        let found = self.functions.get(at, name);
        found.ok_or_else(|| Error::FunctionNotFound(Arn::function(at, name, qualifier)))
    }

    /// Writes a function that was not there.
    pub(crate) async fn create(
        &self,
        at: &Scope,
        name: &str,
        record: FunctionRecord,
        contents: HashMap<String, Arc<Content>>,
    ) -> Result<Arc<Function>, Error> {
        self.write_contents(at, name, &record.id, &contents).await?;
        let encoded = record::encode(&record)?;
        let key = function_key(at, name);
        match self.kv.put(&key, encoded, Expect::Absent).await {
            Ok(stored) => Ok(self.show(at, name, record, stored, contents, None)),
            Err(store::Error::Conflict { .. }) => Err(Error::FunctionExists(name.to_owned())),
            Err(error) => Err(error.into()),
        }
    }

    /// Changes a function: `edit` works on a copy of the record, as often as others come first.
    pub(crate) async fn change<T>(
        &self,
        at: &Scope,
        name: &str,
        mut edit: impl FnMut(&Function, &mut FunctionRecord) -> Result<T, Error>,
    ) -> Result<(Arc<Function>, T), Error> {
        self.change_with(at, name, |function, record, _| edit(function, record))
            .await
    }

    /// Like [`Inner::change`], where `edit` may also make the content of new versions.
    pub(crate) async fn change_with<T>(
        &self,
        at: &Scope,
        name: &str,
        mut edit: impl FnMut(
            &Function,
            &mut FunctionRecord,
            &mut HashMap<String, Arc<Content>>,
        ) -> Result<T, Error>,
    ) -> Result<(Arc<Function>, T), Error> {
        let key = function_key(at, name);
        for _ in 0..TRIES_MAX {
            let before = self.function(at, name, None)?;
            let mut record = before.record.clone();
            let mut made = HashMap::new();
            let value = edit(&before, &mut record, &mut made)?;
            self.write_contents(at, name, &record.id, &made).await?;
            let expect = Expect::Revision(before.stored);
            match self.kv.put(&key, record::encode(&record)?, expect).await {
                Ok(stored) => {
                    made.extend(before.contents.clone());
                    let after = self.show(at, name, record, stored, made, Some(&before));
                    self.apply_concurrency(at, name);
                    return Ok((after, value));
                }
                Err(store::Error::Conflict { .. }) => self.reload(at, name).await?,
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Contended)
    }

    async fn write_contents(
        &self,
        at: &Scope,
        name: &str,
        id: &str,
        contents: &HashMap<String, Arc<Content>>,
    ) -> Result<(), Error> {
        for (content, value) in contents {
            let version = VersionRecord {
                content: Content::clone(value),
            };
            let key = version_key(at, name, id, content);
            self.kv
                .put(&key, record::encode(&version)?, Expect::Absent)
                .await?;
        }
        Ok(())
    }

    /// Removes a function; `check` may still refuse.
    pub(crate) async fn remove(
        &self,
        at: &Scope,
        name: &str,
        check: impl Fn(&Function) -> Result<(), Error>,
    ) -> Result<Arc<Function>, Error> {
        let key = function_key(at, name);
        for _ in 0..TRIES_MAX {
            let before = self.function(at, name, None)?;
            check(&before)?;
            match self.kv.delete(&key, Expect::Revision(before.stored)).await {
                Ok(_) => {
                    self.functions.install(at, name, before.stored, None);
                    self.tell_change();
                    return Ok(before);
                }
                Err(store::Error::Conflict { .. }) => self.reload(at, name).await?,
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Contended)
    }

    /// Shows what somebody else wrote.
    async fn reload(&self, at: &Scope, name: &str) -> Result<(), Error> {
        let before = self.functions.get(at, name);
        let Some(entry) = self.kv.get(&function_key(at, name)).await? else {
            if let Some(before) = before {
                self.functions.install(at, name, before.stored, None);
            }
            return Ok(());
        };
        let record: FunctionRecord = record::decode(&entry.value)?;
        let mut contents = before
            .as_ref()
            .map(|before| before.contents.clone())
            .unwrap_or_default();
        for version in record.versions.values() {
            if contents.contains_key(&version.content) {
                continue;
            }
            let key = version_key(at, name, &record.id, &version.content);
            // Gone by now if the version was deleted since; then the record is stale too and the next try sees it.
            if let Some(entry) = self.kv.get(&key).await? {
                let read: VersionRecord = record::decode(&entry.value)?;
                contents.insert(version.content.clone(), Arc::new(read.content));
            }
        }
        self.show(
            at,
            name,
            record,
            entry.revision,
            contents,
            before.as_deref(),
        );
        self.apply_concurrency(at, name);
        Ok(())
    }

    /// Makes what requests read out of a record, and shows it.
    fn show(
        &self,
        at: &Scope,
        name: &str,
        record: FunctionRecord,
        stored: u64,
        mut contents: HashMap<String, Arc<Content>>,
        before: Option<&Function>,
    ) -> Arc<Function> {
        contents.retain(|content, _| record.versions.values().any(|v| v.content == *content));
        let before = before.filter(|before| before.record.id == record.id);
        let wishes = self.config.wishes_of(&record.tags);
        let runnable = |version, content| self.runnable(at, name, version, content, wishes, before);
        let latest = match (&record.latest_head.state, &record.last_update) {
            (State::Active, LastUpdate::Successful) => Some(runnable(None, &record.latest)),
            // What ran before goes on running, but never with more than the tags say now.
            (State::Active, _) => before
                .and_then(|before| before.latest.clone())
                .map(|latest| latest.map(|spec| self.under(&spec, wishes))),
            (State::Pending | State::Failed { .. }, _) => None,
        };
        let active = record
            .versions
            .iter()
            .filter(|(_, version)| version.head.state == State::Active);
        let versions = active
            .filter_map(|(number, version)| {
                let content = contents.get(&version.content)?;
                Some((*number, runnable(Some(*number), content)))
            })
            .collect();
        let policies = record
            .policies
            .iter()
            .map(|(qualifier, statements)| (qualifier.clone(), policy_json(statements)))
            .collect();
        let function = Arc::new(Function {
            at: at.clone(),
            name: name.to_owned(),
            record,
            stored,
            contents,
            latest,
            versions,
            policies,
            lineage_name: recursion::lineage_name(at, name),
        });
        self.functions
            .install(at, name, stored, Some(Arc::clone(&function)));
        for spec in function.likely() {
            self.engine.expect(spec);
        }
        self.tell_change();
        function
    }

    fn runnable(
        &self,
        at: &Scope,
        name: &str,
        version: Option<u64>,
        content: &Content,
        wishes: Wishes,
        before: Option<&Function>,
    ) -> Runnable {
        let key = crate::spec::key(at, name, version, &content.id, wishes);
        if let Some(Ok(spec)) = before.and_then(|before| before.runnable(version))
            && spec.key == key
        {
            return Ok(Arc::clone(spec));
        }
        self.specification(at, name, version, content, wishes)
    }

    /// Changes a layer, or makes it.
    pub(crate) async fn change_layer<T>(
        &self,
        at: &Scope,
        name: &str,
        mut edit: impl FnMut(&mut LayerRecord) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let key = layer_key(at, name);
        for _ in 0..TRIES_MAX {
            let before = self.layers.get(at, name);
            let mut record = before
                .as_ref()
                .map(|before| before.record.clone())
                .unwrap_or_default();
            let value = edit(&mut record)?;
            let expect = before
                .as_ref()
                .map_or(Expect::Absent, |before| Expect::Revision(before.stored));
            match self.kv.put(&key, record::encode(&record)?, expect).await {
                Ok(stored) => {
                    let shown = Arc::new(Layer { record, stored });
                    self.layers.install(at, name, stored, Some(shown));
                    return Ok(value);
                }
                Err(store::Error::Conflict { .. }) => self.reload_layer(at, name).await?,
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Contended)
    }

    async fn reload_layer(&self, at: &Scope, name: &str) -> Result<(), Error> {
        // A layer's record is never removed: its numbers must not begin anew.
        if let Some(entry) = self.kv.get(&layer_key(at, name)).await? {
            let shown = Layer {
                record: record::decode(&entry.value)?,
                stored: entry.revision,
            };
            self.layers
                .install(at, name, entry.revision, Some(Arc::new(shown)));
        }
        Ok(())
    }
}

/// A layer as it is in memory.
pub(crate) struct Layer {
    pub record: LayerRecord,
    pub stored: u64,
}

/// A policy as AWS prints it.
pub(crate) fn policy_json(statements: &[crate::record::Statement]) -> Arc<str> {
    #[derive(serde::Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Policy<'a> {
        version: &'static str,
        id: &'static str,
        statement: &'a [crate::record::Statement],
    }
    let policy = Policy {
        version: "2012-10-17",
        id: "default",
        statement: statements,
    };
    serde_json::to_string(&policy)
        .expect("a policy is made of strings and JSON values")
        .into()
}
