//! Reading JSON as Go's `encoding/json` does, because every client of the Docker API relies on it.
//!
//! Three leniencies, and no others: struct keys match without regard to case, `null` is the zero value
//! of any type, and unknown fields are ignored (serde's own default). Wrong types stay errors.

use serde::de::value::StringDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess,
    Visitor,
};
use serde_json::{Error, Map, Value};

/// Reads a request body. An empty body reads as `{}`.
pub fn from_slice<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return from_value(Value::Object(Map::new()));
    }
    from_value(serde_json::from_slice(body)?)
}

/// Reads an already parsed value with the same leniencies.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, Error> {
    T::deserialize(Go(value))
}

/// A string, or a list of strings: Docker takes both for `Cmd`, `Entrypoint` and `Shell` and always
/// answers with the list.
pub fn string_or_list<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<String>>, D::Error> {
    struct Strings;
    impl<'de> Visitor<'de> for Strings {
        type Value = Option<Vec<String>>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a string or a list of strings")
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
            Ok(Some(vec![text.to_owned()]))
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut list = Vec::new();
            while let Some(item) = seq.next_element()? {
                list.push(item);
            }
            Ok(Some(list))
        }
    }
    from.deserialize_any(Strings)
}

struct Go(Value);

macro_rules! scalar {
    ($($method:ident => $zero:ident($value:expr);)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.0 {
                Value::Null => visitor.$zero($value),
                value => value.$method(visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Go {
    type Error = Error;

    scalar! {
        deserialize_bool => visit_bool(false);
        deserialize_i8 => visit_i64(0); deserialize_i16 => visit_i64(0);
        deserialize_i32 => visit_i64(0); deserialize_i64 => visit_i64(0);
        deserialize_u8 => visit_u64(0); deserialize_u16 => visit_u64(0);
        deserialize_u32 => visit_u64(0); deserialize_u64 => visit_u64(0);
        deserialize_f32 => visit_f64(0.0); deserialize_f64 => visit_f64(0.0);
        deserialize_char => visit_char('\0');
        deserialize_str => visit_str(""); deserialize_string => visit_str("");
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(list) => visitor.visit_seq(Seq(list.into_iter())),
            Value::Object(map) => visitor.visit_map(Fields::new(map, None)),
            value => value.deserialize_any(visitor),
        }
    }
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            value => visitor.visit_some(Go(value)),
        }
    }
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_seq(Seq(Vec::new().into_iter())),
            Value::Array(list) => visitor.visit_seq(Seq(list.into_iter())),
            value => value.deserialize_seq(visitor),
        }
    }
    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_map(Fields::new(Map::new(), None)),
            Value::Object(map) => visitor.visit_map(Fields::new(map, None)),
            value => value.deserialize_map(visitor),
        }
    }
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_map(Fields::new(Map::new(), None)),
            Value::Object(map) => visitor.visit_map(Fields::new(map, Some(fields))),
            value => value.deserialize_map(visitor),
        }
    }
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let value = if self.0.is_null() { Value::String(String::new()) } else { self.0 };
        value.deserialize_enum(name, variants, visitor)
    }
    serde::forward_to_deserialize_any! { i128 u128 bytes byte_buf unit unit_struct identifier ignored_any }
}

struct Seq(std::vec::IntoIter<Value>);

impl<'de> SeqAccess<'de> for Seq {
    type Error = Error;
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        self.0.next().map(|value| seed.deserialize(Go(value))).transpose()
    }
}

/// The entries of an object; with `fields`, keys are first turned into the struct's own spelling, the
/// last of several wins, and nulls are left out so that the field's default stands.
struct Fields {
    entries: serde_json::map::IntoIter,
    value: Option<Value>,
}

impl Fields {
    fn new(map: Map<String, Value>, fields: Option<&'static [&'static str]>) -> Self {
        let Some(fields) = fields else {
            return Fields { entries: map.into_iter(), value: None };
        };
        let mut own = Map::with_capacity(map.len());
        for (key, value) in map {
            let spelled = fields
                .iter()
                .find(|field| **field == key)
                .or_else(|| fields.iter().find(|field| field.eq_ignore_ascii_case(&key)));
            if let Some(field) = spelled.filter(|_| !value.is_null()) {
                own.insert((*field).to_owned(), value);
            }
        }
        Fields { entries: own.into_iter(), value: None }
    }
}

impl<'de> MapAccess<'de> for Fields {
    type Error = Error;
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        self.value = Some(value);
        let key: StringDeserializer<Error> = key.into_deserializer();
        seed.deserialize(key).map(Some)
    }
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(Go(self.value.take().unwrap_or(Value::Null)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::collections::BTreeMap;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, rename_all = "PascalCase")]
    struct Sample {
        #[serde(deserialize_with = "string_or_list")]
        cmd: Option<Vec<String>>,
        tty: bool,
        labels: BTreeMap<String, String>,
        inner: Option<Box<Sample>>,
    }

    fn read(text: &str) -> Result<Sample, Error> {
        from_slice(text.as_bytes())
    }

    #[test]
    fn keys_match_without_case_at_any_depth_but_map_keys_keep_theirs() {
        let got =
            read(r#"{"cmd":"sh","TTY":true,"LABELS":{"aB":"c"},"inner":{"tty":true}}"#).unwrap();
        assert_eq!(got.cmd, Some(vec!["sh".to_owned()]));
        assert!(got.tty && got.inner.unwrap().tty);
        assert_eq!(got.labels["aB"], "c");
    }

    #[test]
    fn null_is_the_zero_value_and_an_empty_body_is_an_empty_object() {
        assert_eq!(
            read(r#"{"Cmd":null,"Tty":null,"Labels":null,"Inner":null}"#).unwrap(),
            Sample::default()
        );
        assert_eq!(read("").unwrap(), Sample::default());
        assert_eq!(read("null").unwrap(), Sample::default());
    }

    #[test]
    fn a_wrong_type_is_an_error() {
        assert!(read(r#"{"Tty":"yes"}"#).is_err());
        assert!(read(r#"{"Cmd":[1]}"#).is_err());
        assert!(read("[]").is_err());
    }
}
