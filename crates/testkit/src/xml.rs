//! Just enough XML: reads an answer into an owned tree, and changes it where it stands.

use std::ops::Range;

use crate::wire::escape;

/// An element without namespace or attributes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Element {
    /// Local name.
    pub name: String,
    /// Its own text, trimmed.
    pub text: String,
    /// Child elements.
    pub children: Vec<Element>,
    /// Where it stands in the text that was parsed, tags included.
    pub range: Range<usize>,
}

impl Element {
    /// The root of a document; an empty element if it is none.
    pub fn parse(text: &str) -> Self {
        match roxmltree::Document::parse(text) {
            Ok(document) => Self::of(document.root_element()),
            Err(_) => Self::default(),
        }
    }

    fn of(node: roxmltree::Node<'_, '_>) -> Self {
        Self {
            name: node.tag_name().name().to_owned(),
            text: node.text().unwrap_or_default().trim().to_owned(),
            children: node.children().filter(roxmltree::Node::is_element).map(Self::of).collect(),
            range: node.range(),
        }
    }

    /// All elements at a path below this one (`natGatewaySet/item`).
    pub fn all(&self, path: &str) -> Vec<&Element> {
        let mut found = vec![self];
        for name in path.split('/') {
            found =
                found.into_iter().flat_map(|element| &element.children).filter(|e| e.name == name).collect();
        }
        found
    }

    /// The first element at a path below this one.
    pub fn get(&self, path: &str) -> Option<&Element> {
        self.all(path).into_iter().next()
    }

    /// Its text; empty where there is none.
    pub fn value(&self, path: &str) -> &str {
        self.get(path).map_or("", |element| element.text.as_str())
    }

    /// All texts at a path.
    pub fn values(&self, path: &str) -> Vec<&str> {
        self.all(path).into_iter().map(|element| element.text.as_str()).collect()
    }
}

/// Changes to a document, collected first and made at once.
#[derive(Debug)]
pub struct Edits<'a> {
    text: &'a str,
    changes: Vec<(Range<usize>, String)>,
}

impl<'a> Edits<'a> {
    /// None yet. The ranges given later are of this very text.
    pub fn of(text: &'a str) -> Self {
        Self { text, changes: Vec::new() }
    }

    /// Gives an element another text, instead of all that is in it.
    pub fn set(&mut self, element: &Element, text: &str) {
        let name = self.tag(element);
        self.changes.push((element.range.clone(), format!("<{name}>{}</{name}>", escape(text))));
    }

    /// Gives a child of an element another text; adds the child if there is none.
    pub fn set_child(&mut self, element: &Element, name: &str, text: &str) {
        match element.get(name) {
            Some(child) => self.set(child, text),
            None => self.add(element, &format!("<{name}>{}</{name}>", escape(text))),
        }
    }

    /// Adds XML at the end of an element that has children or text.
    pub fn add(&mut self, element: &Element, xml: &str) {
        let own = &self.text[element.range.clone()];
        if let Some(at) = own.rfind("</") {
            let at = element.range.start + at;
            self.changes.push((at..at, xml.to_owned()));
        } else {
            let name = self.tag(element);
            self.changes.push((element.range.clone(), format!("<{name}>{xml}</{name}>")));
        }
    }

    /// Takes an element out.
    pub fn remove(&mut self, element: &Element) {
        self.changes.push((element.range.clone(), String::new()));
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The changed document.
    pub fn apply(mut self) -> String {
        // From the end, so that the earlier ranges stay right.
        self.changes.sort_by_key(|(range, _)| std::cmp::Reverse(range.start));
        let mut text = self.text.to_owned();
        for (range, new) in self.changes {
            text.replace_range(range, &new);
        }
        text
    }

    /// The name as written, with a prefix if it has one.
    fn tag(&self, element: &Element) -> String {
        let own = &self.text[element.range.clone()];
        own.trim_start_matches('<').split(['>', '/', ' ', '\n']).next().unwrap_or(&element.name).to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_changes() {
        let text = "<R xmlns=\"urn:x\"><set><item><id>a</id><state>up</state></item><item><id>b</id></item><e/></set></R>";
        let root = Element::parse(text);
        assert_eq!(root.values("set/item/id"), ["a", "b"]);
        let items = root.all("set/item");
        let mut edits = Edits::of(text);
        edits.set_child(items[0], "state", "down & out");
        edits.set_child(items[1], "state", "new");
        edits.add(root.get("set/e").unwrap(), "<x>1</x>");
        edits.remove(items[0].get("id").unwrap());
        assert_eq!(
            edits.apply(),
            "<R xmlns=\"urn:x\"><set><item><state>down &amp; out</state></item>\
             <item><id>b</id><state>new</state></item><e><x>1</x></e></set></R>"
        );
    }
}
