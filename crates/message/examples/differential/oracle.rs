//! A browser's reading of a document: html5ever's tree, scripting off, with a sink and a list of targets of its own. It
//! shares no code with the crate that it judges.

use std::borrow::Cow;
use std::cell::RefCell;

use html5ever::interface::{ElemName, ElementFlags, NodeOrText, QuirksMode, TreeSink};
use html5ever::tendril::{StrTendril, TendrilSink};
use html5ever::tree_builder::TreeBuilderOpts;
use html5ever::{Attribute, LocalName, Namespace, ParseOpts, QualName, parse_document};
use url::Url;

/// The greatest depth of documents within documents: comments, raw text, srcdoc.
const MAX_DEPTH: usize = 3;

/// The links and text a reader has of a document.
#[derive(Debug, Default)]
pub(crate) struct View {
    /// Places that lead to a host over http, https or ftp, each with where it stands.
    pub(crate) targets: Vec<(String, String)>,
    /// The visible text, white space folded.
    pub(crate) text: String,
}

/// The absolute target of a reference, as browsers resolve it; `None` when it leads to no web host.
pub(crate) fn resolve(raw: &str, base: Option<&Url>) -> Option<Url> {
    let url = match Url::options().base_url(base).parse(raw) {
        Ok(url) => url,
        Err(url::ParseError::RelativeUrlWithoutBase) => {
            // Mail has no address of its own; programs take such a reference for one of the web.
            let bare: String = raw.chars().filter(|c| !matches!(c, '\t' | '\n' | '\r')).collect();
            let bare = bare.trim_matches(|c: char| c <= ' ');
            let slashes = bare.bytes().take_while(|b| matches!(b, b'/' | b'\\')).count();
            if slashes < 2 {
                return None;
            }
            Url::parse(&format!("https:{bare}")).ok()?
        }
        Err(_) => return None,
    };
    (matches!(url.scheme(), "http" | "https" | "ftp") && url.has_host()).then_some(url)
}

/// Reads a document.
pub(crate) fn view(document: &str) -> View {
    let mut out = View::default();
    read(document, None, 0, &mut out);
    out
}

fn read(document: &str, outer_base: Option<&Url>, depth: usize, out: &mut View) {
    let opts = ParseOpts {
        tree_builder: TreeBuilderOpts {
            scripting_enabled: false,
            ..TreeBuilderOpts::default()
        },
        ..ParseOpts::default()
    };
    let nodes = parse_document(Tree::default(), opts).one(document).nodes.into_inner();
    let own_base = first_base(&nodes);
    let base = own_base.as_ref().or(outer_base);
    for node in &nodes {
        match &node.what {
            What::Element(name, attrs) => {
                element(name, attrs, base, depth, out);
                if is_hidden_markup(name) {
                    let text: String = node
                        .children
                        .iter()
                        .filter_map(|c| nodes.get(*c))
                        .map(text_of)
                        .collect();
                    nested(&text, base, depth, out);
                }
            }
            What::Comment(text) => nested(text, base, depth, out),
            What::Document | What::Text(_) => {}
        }
    }
    if depth == 0 {
        out.text = visible(&nodes);
    }
}

fn nested(text: &str, base: Option<&Url>, depth: usize, out: &mut View) {
    if depth < MAX_DEPTH && text.contains('<') {
        read(text, base, depth + 1, out);
    }
}

/// Elements whose content is text to this parser and markup to some other.
fn is_hidden_markup(name: &QualName) -> bool {
    is_html(name) && matches!(&*name.local, "noembed" | "noframes" | "iframe")
}

fn is_html(name: &QualName) -> bool {
    &*name.ns == "http://www.w3.org/1999/xhtml"
}

fn text_of(node: &Node) -> &str {
    match &node.what {
        What::Text(t) => t,
        _ => "",
    }
}

/// The URL of the first base element with a href, in tree order.
fn first_base(nodes: &[Node]) -> Option<Url> {
    let mut stack = vec![0];
    while let Some(at) = stack.pop() {
        let node = nodes.get(at)?;
        if let What::Element(name, attrs) = &node.what
            && is_html(name)
            && &*name.local == "base"
            && let Some(href) = attrs.iter().find(|a| &*a.name.local == "href")
        {
            return Url::parse(&href.value)
                .ok()
                .or_else(|| resolve(&href.value, None))
                .filter(|u| !u.cannot_be_a_base());
        }
        stack.extend(node.children.iter().rev());
    }
    None
}

/// Elements whose href is fetched, or names another element, and is never followed by a click.
fn is_fetched(name: &str) -> bool {
    const FETCHED: [&str; 25] = [
        // The parser makes it of an `image`; its href means nothing.
        "img",
        "link",
        "base",
        "image",
        "use",
        "feimage",
        "pattern",
        "lineargradient",
        "radialgradient",
        "filter",
        "mpath",
        "textpath",
        "tref",
        "script",
        "cursor",
        "font-face-uri",
        "glyphref",
        "altglyph",
        "color-profile",
        "set",
        "animate",
        "animatemotion",
        "animatetransform",
        "animatecolor",
        "discard",
    ];
    let name = name.strip_prefix("svg:").unwrap_or(name);
    FETCHED.iter().any(|f| f.eq_ignore_ascii_case(name))
}

fn element(name: &QualName, attrs: &[Attribute], base: Option<&Url>, depth: usize, out: &mut View) {
    let tag = &*name.local;
    let value = |wanted: &str| attrs.iter().find(|a| *a.name.local == *wanted).map(|a| &*a.value);
    for a in attrs {
        let attr = &*a.name.local;
        let leads = match attr {
            "href" => !is_fetched(tag),
            // Empty, they mean the document itself.
            "action" => tag == "form" && !a.value.is_empty(),
            "formaction" | "ping" => !a.value.is_empty(),
            "src" => matches!(tag, "iframe" | "frame" | "embed") && !a.value.is_empty(),
            "data" => tag == "object" && !a.value.is_empty(),
            "srcdoc" => {
                nested(&a.value, base, depth, out);
                false
            }
            other => other.ends_with(":href") && !is_fetched(tag),
        };
        if leads && let Some(url) = resolve(&a.value, base) {
            out.targets.push((format!("{tag}[{attr}]"), url.into()));
        }
    }
    if tag == "meta"
        && value("http-equiv").is_some_and(|v| v.trim().eq_ignore_ascii_case("refresh"))
        && let Some(content) = value("content")
    {
        let content = content.to_ascii_lowercase();
        if content.contains(':') || content.contains("//") {
            out.targets.push(("meta[refresh]".to_owned(), content));
        }
    }
    if (tag == "set" || tag.to_ascii_lowercase().starts_with("animate"))
        && value("attributeName")
            .or(value("attributename"))
            .is_some_and(|v| v.to_ascii_lowercase().contains("href"))
        && let Some(url) = ["to", "from", "by", "values"]
            .iter()
            .find_map(|n| resolve(value(n)?, base))
    {
        out.targets.push((format!("{tag}[to]"), url.into()));
    }
}

/// The text that a browser shows, white space folded. Raw text is left out: a link cannot stand in it.
fn visible(nodes: &[Node]) -> String {
    let mut out = String::new();
    let mut stack = vec![0];
    while let Some(at) = stack.pop() {
        let Some(node) = nodes.get(at) else { continue };
        match &node.what {
            What::Text(t) => {
                for c in t.chars() {
                    if !c.is_whitespace() && c != '\u{fffd}' {
                        out.push(c);
                    } else if !out.ends_with(' ') && c != '\u{fffd}' {
                        out.push(' ');
                    }
                }
            }
            What::Element(name, _)
                if is_html(name)
                    && matches!(
                        &*name.local,
                        "script" | "style" | "title" | "noembed" | "noframes" | "iframe" | "xmp" | "plaintext"
                    ) => {}
            _ => stack.extend(node.children.iter().rev()),
        }
    }
    out.trim().to_owned()
}

#[derive(Debug)]
struct Node {
    what: What,
    parent: Option<usize>,
    children: Vec<usize>,
    contents: Option<usize>,
    integration_point: bool,
}

#[derive(Debug)]
enum What {
    Document,
    Element(QualName, Vec<Attribute>),
    Text(String),
    Comment(String),
}

/// Nodes by number, the document first. Nodes that end outside the tree stay in the list, and count.
struct Tree {
    nodes: RefCell<Vec<Node>>,
}

impl Default for Tree {
    fn default() -> Self {
        let tree = Self {
            nodes: RefCell::default(),
        };
        tree.make(What::Document);
        tree
    }
}

#[derive(Debug)]
struct Name(Namespace, LocalName);

impl ElemName for Name {
    fn ns(&self) -> &Namespace {
        &self.0
    }
    fn local_name(&self) -> &LocalName {
        &self.1
    }
}

impl Tree {
    fn make(&self, what: What) -> usize {
        let mut nodes = self.nodes.borrow_mut();
        nodes.push(Node {
            what,
            parent: None,
            children: Vec::new(),
            contents: None,
            integration_point: false,
        });
        nodes.len() - 1
    }

    fn place(&self, parent: usize, at: Option<usize>, child: NodeOrText<usize>) {
        let child = match child {
            NodeOrText::AppendNode(n) => {
                self.cut(n);
                n
            }
            NodeOrText::AppendText(t) => {
                let mut nodes = self.nodes.borrow_mut();
                let siblings = &nodes[parent].children;
                let before = at.unwrap_or(siblings.len()).checked_sub(1).map(|n| siblings[n]);
                if let Some(b) = before
                    && let What::Text(old) = &mut nodes[b].what
                {
                    old.push_str(&t);
                    return;
                }
                drop(nodes);
                self.make(What::Text(t.to_string()))
            }
        };
        let mut nodes = self.nodes.borrow_mut();
        nodes[child].parent = Some(parent);
        let siblings = &mut nodes[parent].children;
        let at = at.unwrap_or(siblings.len()).min(siblings.len());
        siblings.insert(at, child);
    }

    fn cut(&self, child: usize) {
        let mut nodes = self.nodes.borrow_mut();
        if let Some(parent) = nodes[child].parent.take() {
            nodes[parent].children.retain(|c| *c != child);
        }
    }

    fn index(&self, child: usize) -> Option<(usize, usize)> {
        let nodes = self.nodes.borrow();
        let parent = nodes[child].parent?;
        let at = nodes[parent].children.iter().position(|c| *c == child)?;
        Some((parent, at))
    }
}

impl TreeSink for Tree {
    type Handle = usize;
    type Output = Self;
    type ElemName<'a> = Name;

    fn finish(self) -> Self {
        self
    }
    fn parse_error(&self, _: Cow<'static, str>) {}
    fn get_document(&self) -> usize {
        0
    }
    fn elem_name(&self, target: &usize) -> Name {
        match &self.nodes.borrow()[*target].what {
            What::Element(name, _) => Name(name.ns.clone(), name.local.clone()),
            _ => Name(Namespace::default(), LocalName::default()),
        }
    }
    fn create_element(&self, name: QualName, attrs: Vec<Attribute>, flags: ElementFlags) -> usize {
        let n = self.make(What::Element(name, attrs));
        let contents = flags.template.then(|| self.make(What::Document));
        let node = &mut self.nodes.borrow_mut()[n];
        node.contents = contents;
        node.integration_point = flags.mathml_annotation_xml_integration_point;
        n
    }
    fn create_comment(&self, text: StrTendril) -> usize {
        self.make(What::Comment(text.to_string()))
    }
    fn create_pi(&self, target: StrTendril, data: StrTendril) -> usize {
        self.make(What::Comment(format!("{target} {data}")))
    }
    fn append(&self, parent: &usize, child: NodeOrText<usize>) {
        self.place(*parent, None, child);
    }
    fn append_based_on_parent_node(&self, element: &usize, previous: &usize, child: NodeOrText<usize>) {
        let attached = self.nodes.borrow()[*element].parent.is_some();
        if attached {
            self.append_before_sibling(element, child);
        } else {
            self.append(previous, child);
        }
    }
    fn append_doctype_to_document(&self, _: StrTendril, _: StrTendril, _: StrTendril) {}
    fn get_template_contents(&self, target: &usize) -> usize {
        self.nodes.borrow()[*target].contents.unwrap_or(*target)
    }
    fn same_node(&self, x: &usize, y: &usize) -> bool {
        x == y
    }
    fn set_quirks_mode(&self, _: QuirksMode) {}
    fn append_before_sibling(&self, sibling: &usize, child: NodeOrText<usize>) {
        if let NodeOrText::AppendNode(n) = &child {
            self.cut(*n);
        }
        if let Some((parent, at)) = self.index(*sibling) {
            self.place(parent, Some(at), child);
        }
    }
    fn add_attrs_if_missing(&self, target: &usize, attrs: Vec<Attribute>) {
        if let What::Element(_, old) = &mut self.nodes.borrow_mut()[*target].what {
            for a in attrs {
                if !old.iter().any(|o| o.name == a.name) {
                    old.push(a);
                }
            }
        }
    }
    fn remove_from_parent(&self, target: &usize) {
        self.cut(*target);
    }
    fn reparent_children(&self, from: &usize, to: &usize) {
        let children = std::mem::take(&mut self.nodes.borrow_mut()[*from].children);
        for c in children {
            self.nodes.borrow_mut()[c].parent = None;
            self.place(*to, None, NodeOrText::AppendNode(c));
        }
    }
    fn is_mathml_annotation_xml_integration_point(&self, target: &usize) -> bool {
        self.nodes.borrow()[*target].integration_point
    }
}
