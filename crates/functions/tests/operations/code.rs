use std::io::{Cursor, Write};

use serde_json::json;
use zip::write::SimpleFileOptions;

use crate::bed::{Bed, base64, until, zip};

const INVALID: &str = "InvalidParameterValueException";

async fn create(bed: &Bed, package: &[u8]) -> crate::bed::Reply {
    bed.create_with(json!({ "Code": { "ZipFile": base64(package) } }))
        .await
}

#[tokio::test]
async fn packages_that_are_none() {
    let bed = Bed::new().await;
    for package in [&b""[..], b"hello", &[0; 1000]] {
        create(&bed, package).await.fails(
            400,
            INVALID,
            "Could not unzip uploaded file. Please check your file, then try to upload again. (it is not a zip file)",
        );
    }
    let no_base64 = bed.create_with(json!({ "Code": { "ZipFile": "%" } })).await;
    assert_eq!(no_base64.status, 400);
    let none = bed.create_with(json!({ "Code": {} })).await;
    none.fails(400, INVALID, "Please provide a source for function code.");
    assert_eq!(bed.get("/2015-03-31/functions/hello").await.status, 404);
}

#[tokio::test]
async fn packages_that_would_leave_their_folder() {
    let bed = Bed::new().await;
    let mut package = zip(&[("xx/evil.txt", "x")]);
    while let Some(at) = package.windows(11).position(|w| w == b"xx/evil.txt") {
        package[at..at + 11].copy_from_slice(b"../evil.txt");
    }
    create(&bed, &package).await.fails(
        400,
        INVALID,
        "Could not unzip uploaded file. Please check your file, then try to upload again. (the entry '../evil.txt' leaves the package)",
    );
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    writer
        .add_symlink("link", "/etc/passwd", SimpleFileOptions::default())
        .unwrap();
    let package = writer.finish().unwrap().into_inner();
    create(&bed, &package).await.fails(
        400,
        INVALID,
        "Could not unzip uploaded file. Please check your file, then try to upload again. (the link 'link' leads out of the package)",
    );
    let code = bed.folder.path().join("functions/code");
    for folder in ["packages", "temp", "layers"] {
        let count = std::fs::read_dir(code.join(folder)).unwrap().count();
        assert_eq!(count, 0, "{folder}");
    }
}

#[tokio::test]
async fn a_bomb() {
    let bed = Bed::new().await;
    let zeros = vec![0_u8; 16 << 20];
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    writer
        .start_file("zeros", SimpleFileOptions::default())
        .unwrap();
    for _ in 0..20 {
        writer.write_all(&zeros).unwrap();
    }
    let package = writer.finish().unwrap().into_inner();
    create(&bed, &package).await.fails(
        400,
        INVALID,
        "Unzipped size must be smaller than 262144000 bytes",
    );
}

#[tokio::test]
async fn a_package_over_the_limit() {
    let bed = Bed::new().await;
    let package = vec![b'x'; 52_428_801];
    create(&bed, &package).await.fails(
        413,
        "RequestEntityTooLargeException",
        "Zipped size must be smaller than 52428800 bytes",
    );
}

#[tokio::test]
async fn equal_packages_share_a_folder_and_the_last_user_takes_it_along() {
    let bed = Bed::new().await;
    bed.hello().await;
    bed.create_with(json!({ "FunctionName": "two" })).await.ok();
    bed.active("two").await;
    let packages = bed.folder.path().join("functions/code/packages");
    let count = || std::fs::read_dir(&packages).unwrap().count();
    let blobs = async || bed.store.blobs.list(None, 10).await.unwrap().len();
    assert_eq!((count(), blobs().await), (1, 1));
    // What was put in the very moment of a sweep is spared.
    bed.clock.advance(std::time::Duration::from_secs(1));
    bed.delete("/2015-03-31/functions/hello").await.ok();
    bed.delete("/2015-03-31/functions/two").await.ok();
    until(async || (count(), blobs().await) == (0, 0)).await;
}

#[tokio::test]
async fn code_stays_while_an_environment_uses_it() {
    let bed = Bed::new().await;
    bed.hello().await;
    bed.invoke("hello", &[], "{}").await.ok();
    bed.delete("/2015-03-31/functions/hello").await.ok();
    // The sweeper goes round when it is told of garbage; a second one tells that it was there.
    bed.create_with(
        json!({ "FunctionName": "two", "Code": { "ZipFile": base64(&zip(&[("a", "b")])) } }),
    )
    .await
    .ok();
    bed.active("two").await;
    bed.delete("/2015-03-31/functions/two").await.ok();
    let packages = bed.folder.path().join("functions/code/packages");
    until(async || std::fs::read_dir(&packages).unwrap().count() == 1).await;
    let used = bed.recorder.specs.lock().unwrap()[0].code.clone();
    assert!(used.join("bootstrap").is_file());
}

#[tokio::test(flavor = "multi_thread")]
async fn code_may_come_again_while_it_is_swept() {
    let bed = Bed::new().await;
    // Enough files that there is time to sweep while they are looked at.
    let names: Vec<String> = (0..300).map(|number| format!("f{number}/a")).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    let code = json!({ "ZipFile": base64(&zip(&files)) });
    let come_and_go = async |name: &str| {
        for _ in 0..40 {
            let function = json!({ "FunctionName": name, "Code": code });
            bed.create_with(function).await.ok();
            let path = format!("/2015-03-31/functions/{name}");
            bed.delete(&path).await.ok();
        }
    };
    tokio::join!(come_and_go("one"), come_and_go("two"), come_and_go("three"));
}
