//! Emits the `encode` function of a struct. A value that a version cannot carry is an error, unless ignorable.

use super::decode::{flexible_argument, flexible_local};
use super::schema::{Field, Message, Struct, Type};
use super::structs::default_value;
use super::versions::{Versions, When, when_in, when_outside};
use super::{GenerateError, names};
use std::fmt::Write;

pub fn function(message: &Message, structure: &Struct, out: &mut String) -> Result<(), GenerateError> {
    let body = body(message, structure)?;
    let version = if names::mentions(&body, "version") { "version" } else { "_version" };
    let encoder = if body.contains("e.") || body.contains("(e,") { "e" } else { "_e" };
    let _ =
        writeln!(out, "pub fn encode(&self, {encoder}: &mut Encoder, {version}: i16) -> Result<(), EncodeError> {{\n{body}}}");
    Ok(())
}

fn body(message: &Message, structure: &Struct) -> Result<String, GenerateError> {
    let mut body = String::new();
    if structure.name == message.name {
        let Versions { low, high } = message.valid;
        let _ = writeln!(body, "e.expect_version({:?}, version, {low}, {high})?;", message.name);
    }
    for field in &structure.fields {
        write_field(message, structure, field, &mut body)?;
    }
    write_tags(message, structure, &mut body)?;
    let flexible = flexible_local(message.flexible, structure.current, &body);
    body.insert_str(0, &flexible);
    body.push_str("Ok(())\n");
    Ok(body)
}

fn write_field(message: &Message, structure: &Struct, field: &Field, out: &mut String) -> Result<(), GenerateError> {
    let plain = field.versions.subtract(field.tagged).ok_or_else(|| message.unknown(&field.name))?;
    let present = plain.intersect(structure.current);
    let written = when_in(plain, structure.current);
    let _ = match &written {
        When::Always => write!(out, "{}", write(message, structure, field, present)),
        When::If(condition) => writeln!(out, "if {condition} {{\n{}}}", write(message, structure, field, present)),
        When::Never => Ok(()),
    };
    if !field.ignorable {
        refuse(message, structure, field, &written, out)?;
    }
    Ok(())
}

/// Refuses a value other than the default in versions that lack the field.
fn refuse(message: &Message, structure: &Struct, field: &Field, written: &When, out: &mut String) -> Result<(), GenerateError> {
    let name = names::field(&field.name);
    let error = format!("return Err(unsupported({:?}, {name:?}, version));", structure.name);
    let differs = differs(message, field)?;
    let without_tags = field.tagged.intersect(structure.current).is_empty();
    let _ = match when_outside(field.versions, structure.current) {
        When::Never => Ok(()),
        When::Always => writeln!(out, "if {differs} {{ {error} }}"),
        When::If(_) if without_tags && matches!(written, When::If(_)) => {
            out.truncate(out.trim_end().len());
            writeln!(out, " else if {differs} {{ {error} }}")
        }
        When::If(condition) => writeln!(out, "if {condition} && {differs} {{ {error} }}"),
    };
    Ok(())
}

/// A condition that holds when a field's value is not its default.
fn differs(message: &Message, field: &Field) -> Result<String, GenerateError> {
    let value = format!("self.{}", names::field(&field.name));
    let default = default_value(message, field)?;
    Ok(match (&field.kind, default.as_str()) {
        (_, "None") => format!("{value}.is_some()"),
        (Type::Bool, "true") => format!("!{value}"),
        (Type::Bool, _) => value,
        (Type::String, "\"\"") => format!("!{value}.is_empty()"),
        (Type::Bytes | Type::Array(_), _) if field.is_option() => {
            format!("{value}.as_ref().is_none_or(|value| !value.is_empty())")
        }
        (Type::Bytes | Type::Array(_), _) => format!("!{value}.is_empty()"),
        _ => format!("{value} != {default}"),
    })
}

/// Writes a field's value, null where the versions allow it.
fn write(message: &Message, structure: &Struct, field: &Field, present: Versions) -> String {
    let name = names::field(&field.name);
    let flexible = flexible_argument(message, field, structure.current);
    if !field.is_option() {
        return write_value(&field.kind, &format!("self.{name}"), false, &flexible);
    }
    match when_in(field.nullable, present) {
        When::Always if present == present.intersect(field.tagged) => {
            write_nullable(&field.kind, &name, &flexible).replace("e.presence(", "e.tagged_presence(")
        }
        When::Always => write_nullable(&field.kind, &name, &flexible),
        When::Never => write_required(structure, &field.kind, &name, &flexible),
        When::If(condition) => format!(
            "if {condition} {{\n{}}} else {{\n{}}}\n",
            write_nullable(&field.kind, &name, &flexible),
            write_required(structure, &field.kind, &name, &flexible)
        ),
    }
}

fn write_required(structure: &Struct, kind: &Type, name: &str, flexible: &str) -> String {
    let borrowed = matches!(kind, Type::Struct(_) | Type::Array(_));
    let value = if borrowed { format!("self.{name}.as_ref()") } else { format!("self.{name}") };
    let required = format!("required({value}, {:?}, {name:?})?", structure.name);
    match kind {
        Type::Array(_) => format!("let items = {required};\n{}", write_value(kind, "items", true, flexible)),
        _ => write_value(kind, &required, borrowed, flexible),
    }
}

fn write_nullable(kind: &Type, name: &str, flexible: &str) -> String {
    match kind {
        Type::String => format!("e.nullable_string(self.{name}, {flexible})?;\n"),
        Type::Bytes => format!("e.nullable_bytes(self.{name}, {flexible})?;\n"),
        Type::Records => format!("e.nullable_records(self.{name}, {flexible})?;\n"),
        Type::Array(_) => format!(
            "match &self.{name} {{\nSome(items) => {{\n{}}}\nNone => e.null_array({flexible}),\n}}\n",
            write_value(kind, "items", true, flexible)
        ),
        _ => format!(
            "e.presence(self.{name}.is_some());\nif let Some(value) = &self.{name} {{\n{}}}\n",
            write_value(kind, "value", true, flexible)
        ),
    }
}

/// Writes the value of an expression; `borrowed` says that it is a reference already.
fn write_value(kind: &Type, value: &str, borrowed: bool, flexible: &str) -> String {
    let plain =
        if borrowed && !matches!(kind, Type::Struct(_) | Type::Array(_)) { format!("*{value}") } else { value.to_string() };
    match kind {
        Type::Bool => format!("e.bool({plain});\n"),
        Type::Int8 => format!("e.i8({plain});\n"),
        Type::Int16 => format!("e.i16({plain});\n"),
        Type::Uint16 => format!("e.u16({plain});\n"),
        Type::Int32 => format!("e.i32({plain});\n"),
        Type::Uint32 => format!("e.u32({plain});\n"),
        Type::Int64 => format!("e.i64({plain});\n"),
        Type::Float64 => format!("e.f64({plain});\n"),
        Type::Uuid => format!("e.uuid({plain});\n"),
        Type::String => format!("e.string({value}, {flexible})?;\n"),
        Type::Bytes => format!("e.bytes({value}, {flexible})?;\n"),
        Type::Records => format!("e.records({plain}, {flexible})?;\n"),
        Type::Struct(_) => format!("{plain}.encode(e, version)?;\n"),
        Type::Array(element) => {
            let reference = if borrowed { "" } else { "&" };
            format!(
                "e.array_length({value}.len(), {flexible})?;\nfor item in {reference}{value} {{\n{}}}\n",
                write_value(element, "item", true, flexible)
            )
        }
    }
}

/// Writes the section of tagged fields that ends a struct in flexible versions.
fn write_tags(message: &Message, structure: &Struct, out: &mut String) -> Result<(), GenerateError> {
    let when = when_in(message.flexible, structure.current);
    let flexible = message.flexible.intersect(structure.current);
    let mut tagged: Vec<&Field> = structure.fields.iter().filter(|field| !field.tagged.intersect(flexible).is_empty()).collect();
    tagged.sort_by_key(|field| field.tag);
    let mut section = String::new();
    let mut counts = Vec::new();
    let mut writes = String::new();
    for field in tagged {
        let name = names::field(&field.name);
        let set = match when_in(field.tagged, flexible) {
            When::If(condition) => format!("{condition} && {}", differs(message, field)?),
            _ => differs(message, field)?,
        };
        let _ = writeln!(section, "let {name}_set = {set};");
        counts.push(format!("usize::from({name}_set)"));
        let present = field.tagged.intersect(flexible);
        let within = Struct { current: present, ..structure.clone() };
        let write = write(message, &within, field, present);
        let tag = field.tag.unwrap_or_default();
        let _ = writeln!(
            writes,
            "if {name}_set {{\nlet start = e.begin_tagged_field({tag});\n{write}e.end_tagged_field(start)?;\n}}"
        );
    }
    let count = if counts.is_empty() { "0".to_string() } else { counts.join(" + ") };
    let _ = writeln!(section, "e.tag_count({count})?;\n{writes}");
    let _ = match when {
        When::Never => Ok(()),
        When::Always => writeln!(out, "{section}"),
        When::If(_) => writeln!(out, "if flexible {{\n{section}}}"),
    };
    Ok(())
}
