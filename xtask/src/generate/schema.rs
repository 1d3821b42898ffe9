//! A descriptor as the generator wants it: every struct in one list, every version range resolved.

use super::GenerateError;
use super::versions::Versions;
use serde::Deserialize;
use serde_json::Value;
use std::path::Path;

/// What a descriptor describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Request,
    Response,
    Header,
    Data,
    CoordinatorKey,
    CoordinatorValue,
    /// Records of Kafka's own Raft log, which we do not speak.
    Metadata,
}

#[derive(Clone, Debug)]
pub struct Message {
    pub name: String,
    pub kind: Kind,
    pub api_key: Option<i16>,
    pub valid: Versions,
    pub flexible: Versions,
    pub latest_unstable: bool,
    pub listeners: Vec<String>,
    /// The message itself first, then the structs it holds in the order of their appearance.
    pub structs: Vec<Struct>,
}

#[derive(Clone, Debug)]
pub struct Struct {
    pub name: String,
    /// The versions in which it can occur.
    pub current: Versions,
    pub fields: Vec<Field>,
}

#[derive(Clone, Debug)]
pub struct Field {
    pub name: String,
    pub kind: Type,
    pub versions: Versions,
    pub nullable: Versions,
    pub tagged: Versions,
    pub tag: Option<u32>,
    pub ignorable: bool,
    /// Where strings, bytes and arrays have compact lengths.
    pub flexible: Versions,
    pub default: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    Bool,
    Int8,
    Int16,
    Uint16,
    Int32,
    Uint32,
    Int64,
    Float64,
    Uuid,
    String,
    Bytes,
    Records,
    Struct(String),
    Array(Box<Type>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMessage {
    api_key: Option<i16>,
    #[serde(rename = "type")]
    kind: Kind,
    name: String,
    valid_versions: String,
    #[serde(default = "none")]
    flexible_versions: String,
    #[serde(default)]
    latest_version_unstable: bool,
    #[serde(default)]
    listeners: Vec<String>,
    #[serde(default)]
    fields: Vec<RawField>,
    #[serde(default)]
    common_structs: Vec<RawStruct>,
}

#[derive(Deserialize)]
struct RawStruct {
    name: String,
    versions: String,
    fields: Vec<RawField>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawField {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    /// Those of the tag where missing.
    versions: Option<String>,
    #[serde(default = "none")]
    nullable_versions: String,
    #[serde(default = "none")]
    tagged_versions: String,
    flexible_versions: Option<String>,
    tag: Option<u32>,
    #[serde(default)]
    ignorable: bool,
    default: Option<Value>,
    #[serde(default)]
    fields: Vec<RawField>,
}

fn none() -> String {
    "none".to_string()
}

/// Reads one descriptor; nothing comes back for a message that is not ours or has no version left.
pub fn parse(path: &Path, text: &str) -> Result<Option<Message>, GenerateError> {
    let raw: RawMessage =
        serde_json::from_str(text).map_err(|source| GenerateError::Json { path: path.to_path_buf(), source })?;
    let mut message = Message {
        valid: versions(&raw.name, &raw.valid_versions)?,
        flexible: versions(&raw.name, &raw.flexible_versions)?,
        name: raw.name,
        kind: raw.kind,
        api_key: raw.api_key,
        latest_unstable: raw.latest_version_unstable,
        listeners: raw.listeners,
        structs: Vec::new(),
    };
    if message.kind == Kind::Metadata || message.valid.is_empty() {
        return Ok(None);
    }
    message.add_struct(&message.name.clone(), &raw.fields, message.valid)?;
    for common in &raw.common_structs {
        let current = versions(&message.name, &common.versions)?.intersect(message.valid);
        message.add_struct(&common.name, &common.fields, current)?;
    }
    Ok(Some(message))
}

fn versions(message: &str, text: &str) -> Result<Versions, GenerateError> {
    Versions::parse(text).ok_or_else(|| GenerateError::Versions { message: message.to_string(), text: text.to_string() })
}

impl Message {
    pub fn first_flexible(&self) -> i16 {
        if self.flexible.is_empty() { i16::MAX } else { self.flexible.low }
    }

    /// The newest version whose meaning is settled.
    pub fn latest_stable(&self) -> i16 {
        if self.latest_unstable { self.valid.high - 1 } else { self.valid.high }
    }

    pub fn structure(&self, name: &str) -> Option<&Struct> {
        self.structs.iter().find(|structure| structure.name == name)
    }

    fn add_struct(&mut self, name: &str, fields: &[RawField], current: Versions) -> Result<(), GenerateError> {
        let at = self.structs.len();
        self.structs.push(Struct { name: name.to_string(), current, fields: Vec::new() });
        for raw in fields {
            let field = self.field(raw)?;
            let present = field.versions.intersect(current);
            if present.is_empty() {
                continue;
            }
            if !raw.fields.is_empty() {
                let inner = field.kind.struct_name().ok_or_else(|| self.unknown(&raw.name))?.to_string();
                self.add_struct(&inner, &raw.fields, present)?;
            }
            self.structs[at].fields.push(field);
        }
        Ok(())
    }

    fn field(&self, raw: &RawField) -> Result<Field, GenerateError> {
        let kind = Type::parse(&raw.kind).ok_or_else(|| self.unknown(&raw.name))?;
        let field = Field {
            name: raw.name.clone(),
            versions: versions(&self.name, raw.versions.as_ref().unwrap_or(&raw.tagged_versions))?,
            nullable: versions(&self.name, &raw.nullable_versions)?,
            tagged: versions(&self.name, &raw.tagged_versions)?,
            tag: raw.tag,
            ignorable: raw.ignorable,
            flexible: match &raw.flexible_versions {
                Some(text) => versions(&self.name, text)?,
                None => self.flexible,
            },
            default: self.default(raw)?,
            kind,
        };
        let tagged = !field.tagged.is_empty();
        if (tagged && field.tag.is_none()) || field.versions.subtract(field.tagged).is_none() {
            return Err(self.unknown(&raw.name));
        }
        Ok(field)
    }

    /// The default as text. JSON's own null says nothing, the string "null" says null.
    fn default(&self, raw: &RawField) -> Result<String, GenerateError> {
        match &raw.default {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(Value::Number(number)) => Ok(number.to_string()),
            Some(Value::Bool(value)) => Ok(value.to_string()),
            Some(Value::Array(_) | Value::Object(_)) => Err(self.unknown(&raw.name)),
        }
    }

    pub fn unknown(&self, field: &str) -> GenerateError {
        GenerateError::Field { message: self.name.clone(), field: field.to_string() }
    }

    /// Whether a value of this type borrows from the bytes it was decoded from.
    pub fn borrows(&self, kind: &Type) -> bool {
        match kind {
            Type::String | Type::Bytes | Type::Records => true,
            Type::Array(element) => self.borrows(element),
            Type::Struct(name) => {
                self.structure(name).is_some_and(|structure| structure.fields.iter().any(|field| self.borrows(&field.kind)))
            }
            _ => false,
        }
    }
}

impl Field {
    /// Whether its Rust type is an `Option`.
    pub fn is_option(&self) -> bool {
        self.kind == Type::Records || !self.nullable.intersect(self.versions).is_empty()
    }
}

impl Type {
    fn parse(text: &str) -> Option<Type> {
        if let Some(element) = text.strip_prefix("[]") {
            return Some(Type::Array(Box::new(Type::parse(element)?)));
        }
        Some(match text {
            "bool" => Type::Bool,
            "int8" => Type::Int8,
            "int16" => Type::Int16,
            "uint16" => Type::Uint16,
            "int32" => Type::Int32,
            "uint32" => Type::Uint32,
            "int64" => Type::Int64,
            "float64" => Type::Float64,
            "uuid" => Type::Uuid,
            "string" => Type::String,
            "bytes" => Type::Bytes,
            "records" => Type::Records,
            name if name.starts_with(|first: char| first.is_ascii_uppercase()) => Type::Struct(name.to_string()),
            _ => return None,
        })
    }

    fn struct_name(&self) -> Option<&str> {
        match self {
            Type::Struct(name) => Some(name),
            Type::Array(element) => element.struct_name(),
            _ => None,
        }
    }
}
