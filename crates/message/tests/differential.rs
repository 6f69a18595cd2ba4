//! Hostile documents, rewritten, and read again with a browser's parser: a short run of the differential example, and the
//! documents of html5lib's tree construction tests where they are at hand.

#[path = "../examples/differential/documents.rs"]
mod documents;
#[path = "../examples/differential/laws.rs"]
#[allow(dead_code)]
mod laws;
#[path = "../examples/differential/oracle.rs"]
mod oracle;
#[path = "../examples/differential/wrapper.rs"]
mod wrapper;

use std::path::PathBuf;

use laws::{Broken, check, minimise};

/// Documents of the short run.
const DOCUMENTS: u64 = if cfg!(debug_assertions) { 4_000 } else { 20_000 };

fn assert_no_escape(documents: impl Iterator<Item = String>) -> usize {
    let mut count = 0;
    let mut escapes = Vec::new();
    for document in documents {
        count += 1;
        if let Err(broken @ (Broken::Escape(..) | Broken::Blind(..))) = check(&document, count % 2 == 0, false) {
            escapes.push(format!(
                "{broken:?} in {:?}",
                minimise(&document, count % 2 == 0, &broken)
            ));
        }
    }
    assert!(escapes.is_empty(), "{escapes:#?}");
    count
}

#[test]
fn no_target_escapes_from_documents_made_at_random() {
    assert_no_escape((0..DOCUMENTS).map(|n| documents::document(n.wrapping_mul(7_919))));
}

/// Documents that broke a law once.
#[test]
fn what_broke_once_holds() {
    for document in [
        // A base that pictures need made links without a value lead to it.
        "<base href=http://a.example/><img src=x><a href>y</a>",
        // The link around the text was not closed before the tag that is cut off.
        "http://w.example/<o",
        // A comment that ends at once, and bogus ones, hid the link that was put in.
        "<!-->http://w.example/",
        "<!----!>http://w.example/",
        "<!<E f=\">http&#58//w.example/",
        // No link can be put into a CDATA section.
        "<math><![CDATA[http://w.example/ x",
        // The field code and the text of it were both changed.
        "mso-elementHYPERLINK\"http://w.example\"",
        // An attribute that is cut off was taken for longer than it is.
        "<style><svg\nhref=\":",
        // The value of a nested tag ran over the end of the attribute around it.
        "<a f=\"<k href=//x\"s>m",
        "<a x='<a href=\"//'\">d",
        // A value without quotes ran over the end of its comment.
        "<!--<x href=//h.example--></n e=\"-->seen",
        // With the attribute went the end tag that kept the link behind it from being markup.
        "<iframe><a\nhref=\":</iframe><script>\"><a/href=\\/'>",
        // Text of a link that is disarmed.
        "<a href=x:y>http://w.example/</a>",
    ] {
        if let Err(broken) = check(document, true, true) {
            panic!("{broken:?}: {document}");
        }
    }
}

#[test]
fn no_target_escapes_from_the_documents_of_html5lib() {
    let corpus = std::env::var_os("LINKGATE_CORPUS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"),
        PathBuf::from,
    );
    let folder = corpus.join("vectors/html5lib-tests/tree-construction");
    let Ok(files) = std::fs::read_dir(&folder) else {
        println!("not run: no html5lib tests at {}", folder.display());
        return;
    };
    let texts = files.filter_map(|f| {
        let path = f.ok()?.path();
        (path.extension()? == "dat").then(|| std::fs::read(&path).ok())?
    });
    let count = assert_no_escape(texts.flat_map(|t| cases(&String::from_utf8_lossy(&t))));
    println!("{count} documents of html5lib");
    assert!(count > 1_000, "only {count} documents");
}

/// The documents of a test file, each as it is and with a link behind it.
fn cases(text: &str) -> Vec<String> {
    let sections = text
        .split("#data\n")
        .skip(1)
        .filter_map(|s| s.split("\n#errors").next());
    sections
        .flat_map(|s| {
            let linked = s
                .replace("<a>", "<a href='https://h.example/'>")
                .replace("foo", "foo=//h.example href");
            [s.to_owned(), format!("{s}<a href='https://h.example/'>x</a>"), linked]
        })
        .collect()
}
