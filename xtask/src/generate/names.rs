//! Names: Kafka's camel case to Rust's snake case, and locals that do not collide.

/// `TimeoutMs` becomes `timeout_ms`; a run of capitals is one word, except for its last letter before a small one.
pub fn snake(name: &str) -> String {
    let characters: Vec<char> = name.chars().collect();
    let mut snake = String::new();
    for (at, character) in characters.iter().enumerate() {
        if character.is_ascii_uppercase() && at > 0 {
            let after_small = !characters[at - 1].is_ascii_uppercase();
            let before_small = characters.get(at + 1).is_some_and(|next| next.is_ascii_lowercase());
            if after_small || before_small {
                snake.push('_');
            }
        }
        snake.push(character.to_ascii_lowercase());
    }
    snake
}

/// The name of a struct's field; a keyword gets a trailing underscore.
pub fn field(name: &str) -> String {
    let snake = snake(name);
    match snake.as_str() {
        "type" | "match" | "ref" | "move" | "self" | "loop" | "in" | "use" | "where" | "enum" | "struct" | "final" => snake + "_",
        _ => snake,
    }
}

/// The name of a local that holds a field's value while decoding; parameters and helpers keep theirs.
pub fn local(name: &str) -> String {
    let field = field(name);
    match field.as_str() {
        "version" | "flexible" | "d" | "tag" => field + "_field",
        _ => field,
    }
}

/// Whether code uses a local of this name: as a word of its own, not as a field or in quotes.
pub fn mentions(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let before = code[..at].chars().next_back().unwrap_or(' ');
        let after = code[at + name.len()..].chars().next().unwrap_or(' ');
        let part_of_word = |character: char| character.is_ascii_alphanumeric() || character == '_';
        !part_of_word(before) && !part_of_word(after) && before != '.' && before != '"'
    })
}

#[cfg(test)]
mod tests {
    use super::{field, mentions, snake};

    #[test]
    fn names_are_rust() {
        assert_eq!(snake("ProduceRequest"), "produce_request");
        assert_eq!(snake("TimeoutMs"), "timeout_ms");
        assert_eq!(snake("KRaftVersion"), "k_raft_version");
        assert_eq!(snake("ClusterID"), "cluster_id");
        assert_eq!(field("Type"), "type_");
    }

    #[test]
    fn a_local_is_a_word() {
        assert!(mentions("if version >= 3 {", "version"));
        assert!(mentions("decode(d, version)?", "version"));
        assert!(!mentions("let min_version = d.i16()?; self.version \"version\"", "version"));
    }
}
