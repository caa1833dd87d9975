//! What the XML of AWS' services has in common.

use roxmltree::{Document, Node};

/// The longest error code that is repeated; AWS' own have less than half of it.
const MAX_CODE: usize = 64;

/// The longest message that is repeated. What AWS says of a missing right goes on with kilobytes for its own use.
const MAX_MESSAGE: usize = 300;

/// A child element.
pub fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.children().find(|child| child.tag_name().name() == name)
}

/// The text of a child element.
pub fn child_text<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    child(node, name)?.text()
}

/// The `item` elements of a list, as EC2 has them.
pub fn items<'a, 'input: 'a>(node: Node<'a, 'input>, list: &str) -> impl Iterator<Item = Node<'a, 'input>> {
    let list = child(node, list);
    list.into_iter().flat_map(|list| list.children()).filter(|one| one.tag_name().name() == "item")
}

/// The error code of an answer. All services have it in an element `Error`, at different depths.
pub fn error_code(xml: &str) -> Option<String> {
    error(xml).map(|(code, _)| code)
}

/// The error code of an answer, and the message to it, which may be empty.
pub(crate) fn error(xml: &str) -> Option<(String, String)> {
    let document = Document::parse(xml).ok()?;
    let error = document.descendants().find(|node| node.tag_name().name() == "Error")?;
    let code = child_text(error, "Code")?;
    let known = code.len() <= MAX_CODE && code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
    let message = child_text(error, "Message").unwrap_or_default().trim();
    let short = message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_MESSAGE).collect();
    known.then(|| (code.to_owned(), short))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_where_each_service_has_them() {
        let sts =
            "<ErrorResponse><Error><Type>Sender</Type><Code>ExpiredToken</Code></Error></ErrorResponse>";
        let ec2 =
            "<Response><Errors><Error><Code>InvalidInstanceID.NotFound</Code></Error></Errors></Response>";
        let s3 = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>NoSuchKey</Code></Error>";
        assert_eq!(error_code(sts).as_deref(), Some("ExpiredToken"));
        assert_eq!(error_code(ec2).as_deref(), Some("InvalidInstanceID.NotFound"));
        assert_eq!(error_code(s3).as_deref(), Some("NoSuchKey"));
        assert_eq!(error_code("<Error><Code>a\nb</Code></Error>"), None);
        assert_eq!(error_code("<html>"), None);
    }

    #[test]
    fn messages_are_one_short_line() {
        let long = format!("<Error><Code>A</Code><Message>a\nb{}</Message></Error>", "x".repeat(9999));
        let (_, message) = error(&long).unwrap();
        assert!(message.starts_with("a bx") && message.len() == MAX_MESSAGE, "{message}");
    }

    #[test]
    fn lists_are_read() {
        let document = Document::parse("<r><set><item>1</item> <other/><item>2</item></set></r>").unwrap();
        let texts: Vec<_> = items(document.root_element(), "set").filter_map(|item| item.text()).collect();
        assert_eq!(texts, ["1", "2"]);
        assert_eq!(items(document.root_element(), "none").count(), 0);
    }
}
