//! What a store that fails and dies does to logs: what was acknowledged is there, and what was deleted stays away.

use store::sim::{Faults, Sim};

use super::*;
use archive::{Archive, NewEvent};

async fn all(archive: &Archive, group: &str) -> Vec<String> {
    let group = archive.group(&scope(), group).await.unwrap();
    let mut found = Vec::new();
    for (stream, _) in archive.infos(&group, "").await.unwrap() {
        let page = archive
            .read(
                &group,
                &stream,
                store::Span::all(),
                1000,
                store::Direction::Forward,
            )
            .await
            .unwrap();
        found.extend(
            page.entries
                .iter()
                .map(|entry| archive::Event::from(entry).message),
        );
    }
    found
}

#[tokio::test]
async fn acknowledged_events_survive_and_deleted_ones_do_not_return() {
    for seed in 0..30 {
        let (sim, _clock) = Sim::new(seed, Faults::ALL);
        let archive = Archive::new(&sim.store());
        let mut acknowledged = Vec::new();
        for n in 0..30 {
            let message = format!("m{n}");
            let events = vec![NewEvent {
                time_ms: NOW_MS + n,
                message: message.clone(),
            }];
            let stream = format!("s{}", n % 3);
            let stored = archive
                .append_creating(&scope(), GROUP, &stream, May::CREATE_ALL, events)
                .await;
            if stored.is_ok() {
                acknowledged.push(message);
            }
        }
        let store = sim.crash();
        sim.set_faults(Faults::NONE);
        let archive = Archive::new(&store);
        let found = all(&archive, GROUP).await;
        for message in &acknowledged {
            assert!(found.contains(message), "seed {seed}: {message} is lost");
        }

        // Deleting is tried until the group is gone, with a crash on the way.
        sim.set_faults(Faults::ALL);
        let mut archive = archive;
        for attempt in 0.. {
            match archive.delete_group(&scope(), GROUP).await {
                Ok(()) | Err(crate::Error::GroupNotFound) => break,
                Err(_) if attempt % 3 == 2 => archive = Archive::new(&sim.crash()),
                Err(_) => {}
            }
        }
        let store = sim.crash();
        sim.set_faults(Faults::NONE);
        let archive = Archive::new(&store);
        let new = archive::Group::new(NOW_MS);
        archive.create_group(&scope(), GROUP, &new).await.unwrap();
        assert_eq!(all(&archive, GROUP).await, [""; 0], "seed {seed}");
        archive.expire().await.unwrap();
        assert_eq!(
            store.journal.list("logs/", None, 10).await.unwrap(),
            [],
            "seed {seed}"
        );
        assert_eq!(
            store.kv.scan("logs/", None, 10).await.unwrap().len(),
            1,
            "seed {seed}"
        );
    }
}
