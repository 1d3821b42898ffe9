//! Emits the `decode` function of a struct: each field becomes a local in wire order, then the struct is built.

use super::schema::{Field, Message, Struct, Type};
use super::structs::{default_value, lifetime};
use super::versions::{Versions, When, when_in};
use super::{GenerateError, names};
use std::fmt::Write;

pub fn function(message: &Message, structure: &Struct, out: &mut String) -> Result<(), GenerateError> {
    let body = body(message, structure)?;
    let version = if names::mentions(&body, "version") { "version" } else { "_version" };
    let input = if lifetime(message, &structure.name).is_empty() { "Decoder<'_>" } else { "Decoder<'a>" };
    let decoder = if body.contains("d.") || body.contains("(d,") { "d" } else { "_d" };
    let _ = writeln!(out, "pub fn decode({decoder}: &mut {input}, {version}: i16) -> Result<Self, DecodeError> {{\n{body}}}\n");
    Ok(())
}

fn body(message: &Message, structure: &Struct) -> Result<String, GenerateError> {
    let mut body = String::new();
    if structure.name == message.name {
        let Versions { low, high } = message.valid;
        let _ = writeln!(body, "d.expect_version({:?}, version, {low}, {high})?;", message.name);
    }
    for field in &structure.fields {
        read_field(message, structure, field, &mut body)?;
    }
    read_tags(message, structure, &mut body);
    let flexible = flexible_local(message.flexible, structure.current, &body);
    body.insert_str(0, &flexible);
    body.push_str("Ok(Self {");
    for field in &structure.fields {
        let (name, local) = (names::field(&field.name), names::local(&field.name));
        let _ = if name == local { write!(body, "{name},") } else { write!(body, "{name}: {local},") };
    }
    body.push_str("})\n");
    Ok(body)
}

/// The line that computes `flexible`, if the code below it asks.
pub fn flexible_local(flexible: Versions, current: Versions, body: &str) -> String {
    match when_in(flexible, current) {
        When::If(condition) if body.contains("flexible") => format!("let flexible = {condition};\n"),
        _ => String::new(),
    }
}

/// How to say whether lengths are compact: a literal where all versions agree, else the local `flexible`.
pub fn flexible_argument(message: &Message, field: &Field, current: Versions) -> String {
    match when_in(field.flexible, current) {
        When::Always => "true".to_string(),
        When::Never => "false".to_string(),
        When::If(_) if field.flexible == message.flexible => "flexible".to_string(),
        When::If(condition) => condition,
    }
}

fn read_field(message: &Message, structure: &Struct, field: &Field, out: &mut String) -> Result<(), GenerateError> {
    let local = names::local(&field.name);
    let mutable = if field.tagged.intersect(structure.current).is_empty() { "" } else { "mut " };
    let default = default_value(message, field)?;
    let plain = field.versions.subtract(field.tagged).ok_or_else(|| message.unknown(&field.name))?;
    let present = plain.intersect(structure.current);
    let _ = match when_in(plain, structure.current) {
        When::Always => writeln!(out, "let {mutable}{local} = {};", read(message, structure, field, present)),
        When::Never => writeln!(out, "let {mutable}{local} = {default};"),
        When::If(condition) => {
            let read = read(message, structure, field, present);
            writeln!(out, "let {mutable}{local} = if {condition} {{ {read} }} else {{ {default} }};")
        }
    };
    Ok(())
}

/// Reads a field's value, null where the versions allow it.
fn read(message: &Message, structure: &Struct, field: &Field, present: Versions) -> String {
    let flexible = flexible_argument(message, field, structure.current);
    let plain = |wrap: bool| {
        let value = read_value(message, &field.kind, &flexible, structure.current);
        if wrap { format!("Some({value})") } else { value }
    };
    let nullable = || match &field.kind {
        // Within a tagged field the mark is a varint, elsewhere a signed byte.
        Type::Struct(name) if present == present.intersect(field.tagged) => {
            format!("if d.tagged_presence()? {{ Some({name}::decode(d, version)?) }} else {{ None }}")
        }
        Type::Struct(name) => format!("if d.presence()? {{ Some({name}::decode(d, version)?) }} else {{ None }}"),
        kind => format!("d.nullable_{}", read_value(message, kind, &flexible, structure.current).trim_start_matches("d.")),
    };
    if !field.is_option() {
        return plain(false);
    }
    match when_in(field.nullable, present) {
        When::Always => nullable(),
        When::Never => plain(true),
        When::If(condition) => format!("if {condition} {{ {} }} else {{ {} }}", nullable(), plain(true)),
    }
}

fn read_value(message: &Message, kind: &Type, flexible: &str, current: Versions) -> String {
    match kind {
        Type::Bool => "d.bool()?".to_string(),
        Type::Int8 => "d.i8()?".to_string(),
        Type::Int16 => "d.i16()?".to_string(),
        Type::Uint16 => "d.u16()?".to_string(),
        Type::Int32 => "d.i32()?".to_string(),
        Type::Uint32 => "d.u32()?".to_string(),
        Type::Int64 => "d.i64()?".to_string(),
        Type::Float64 => "d.f64()?".to_string(),
        Type::Uuid => "d.uuid()?".to_string(),
        Type::String => format!("d.string({flexible})?"),
        Type::Bytes => format!("d.bytes({flexible})?"),
        Type::Records => format!("d.records({flexible})?"),
        Type::Struct(name) => format!("{name}::decode(d, version)?"),
        Type::Array(element) => {
            let least = smallest(message, element, current).max(1);
            let read = read_value(message, element, flexible, current);
            let read = read.strip_suffix('?').unwrap_or(&read);
            format!("d.array({flexible}, {least}, |d| {read})?")
        }
    }
}

/// A lower bound, over all versions in `current`, of the bytes that a value takes.
fn smallest(message: &Message, kind: &Type, current: Versions) -> usize {
    (current.low..=current.high).map(|version| smallest_at(message, kind, version)).min().unwrap_or(0)
}

fn smallest_at(message: &Message, kind: &Type, version: i16) -> usize {
    let flexible = message.flexible.contains(version);
    match kind {
        Type::Bool | Type::Int8 => 1,
        Type::Int16 | Type::Uint16 => 2,
        Type::Int32 | Type::Uint32 => 4,
        Type::Int64 | Type::Float64 => 8,
        Type::Uuid => 16,
        Type::String if !flexible => 2,
        Type::Bytes | Type::Records | Type::Array(_) if !flexible => 4,
        Type::String | Type::Bytes | Type::Records | Type::Array(_) => 1,
        Type::Struct(name) => {
            let Some(structure) = message.structure(name) else { return 0 };
            let fields = structure.fields.iter().map(|field| smallest_field(message, field, version)).sum::<usize>();
            fields + usize::from(flexible)
        }
    }
}

fn smallest_field(message: &Message, field: &Field, version: i16) -> usize {
    if !field.versions.contains(version) || field.tagged.contains(version) {
        return 0;
    }
    match field.kind {
        Type::Struct(_) if field.nullable.contains(version) => 1,
        _ => smallest_at(message, &field.kind, version),
    }
}

/// Reads the tagged fields that end a struct in flexible versions; unknown ones are skipped.
fn read_tags(message: &Message, structure: &Struct, out: &mut String) {
    let when = when_in(message.flexible, structure.current);
    if when == When::Never {
        return;
    }
    let tagged: Vec<&Field> =
        structure.fields.iter().filter(|field| !field.tagged.intersect(structure.current).is_empty()).collect();
    let mut section = String::new();
    if tagged.is_empty() {
        section.push_str("d.skip_tagged_fields()?;\n");
    } else {
        section.push_str("for _ in 0..d.tag_count()? {\nlet (tag, end) = d.begin_tagged_field()?;\nmatch tag {\n");
        for field in tagged {
            read_tag(message, structure, field, &mut section);
        }
        section.push_str("_ => d.skip_to(end),\n}\nd.end_tagged_field(end)?;\n}\n");
    }
    let _ = match when {
        When::If(_) => writeln!(out, "if flexible {{\n{section}}}"),
        _ => writeln!(out, "{section}"),
    };
}

fn read_tag(message: &Message, structure: &Struct, field: &Field, out: &mut String) {
    let flexible = message.flexible.intersect(structure.current);
    let present = field.tagged.intersect(flexible);
    let guard = match when_in(field.tagged, flexible) {
        When::If(condition) => format!(" if {condition}"),
        _ => String::new(),
    };
    let within = Struct { current: present, ..structure.clone() };
    let tag = field.tag.unwrap_or_default();
    let _ = writeln!(out, "{tag}{guard} => {} = {},", names::local(&field.name), read(message, &within, field, present));
}
