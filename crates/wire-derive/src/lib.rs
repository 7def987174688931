//! `#[derive(Shape)]`: how a struct or enum of ours reads from and writes to AWS's wire formats.
//!
//! A struct becomes an AWS structure whose member names are the field names in PascalCase; an enum of
//! plain variants becomes an AWS string enum. Attributes, all under `#[shape(...)]`:
//!
//! - on a struct or enum: `rename_all = "camelCase" | "PascalCase" | "SCREAMING_SNAKE_CASE" | "kebab-case" | "lowercase"`;
//! - on a field: `name = "wireName"`, `default` (absent means `Default::default()`);
//! - on a variant: `name = "wire-value"`.

use proc_macro::TokenStream;
use quote::{format_ident, quote};
use syn::{Data, DeriveInput, Error, Fields, LitStr, Result, parse_macro_input};

/// See the crate's documentation.
#[proc_macro_derive(Shape, attributes(shape))]
pub fn shape(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(&input)
        .unwrap_or_else(Error::into_compile_error)
        .into()
}

fn expand(input: &DeriveInput) -> Result<proc_macro2::TokenStream> {
    let container = Attributes::read(&input.attrs)?;
    match &input.data {
        Data::Struct(data) => structure(input, &container, &data.fields),
        Data::Enum(data) => string_enum(input, &container, data),
        Data::Union(_) => Err(Error::new_spanned(input, "a union has no AWS shape")),
    }
}

#[derive(Default)]
struct Attributes {
    name: Option<String>,
    rename_all: Option<String>,
    default: bool,
}

impl Attributes {
    fn read(attributes: &[syn::Attribute]) -> Result<Self> {
        let mut found = Self::default();
        for attribute in attributes.iter().filter(|a| a.path().is_ident("shape")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("name") {
                    found.name = Some(meta.value()?.parse::<LitStr>()?.value());
                } else if meta.path.is_ident("rename_all") {
                    found.rename_all = Some(meta.value()?.parse::<LitStr>()?.value());
                } else if meta.path.is_ident("default") {
                    found.default = true;
                } else {
                    return Err(meta.error("expected name, rename_all or default"));
                }
                Ok(())
            })?;
        }
        Ok(found)
    }
}

fn structure(
    input: &DeriveInput,
    container: &Attributes,
    fields: &Fields,
) -> Result<proc_macro2::TokenStream> {
    let ident = &input.ident;
    let rule = container.rename_all.as_deref().unwrap_or("PascalCase");
    let (mut idents, mut names, mut types, mut reads, mut members) =
        (vec![], vec![], vec![], vec![], vec![]);
    for field in fields {
        let field_ident = field
            .ident
            .as_ref()
            .ok_or_else(|| Error::new_spanned(field, "an AWS structure has named members"))?;
        let attributes = Attributes::read(&field.attrs)?;
        let name = match attributes.name {
            Some(name) => name,
            None => rename(&field_ident.to_string(), rule, field_ident)?,
        };
        let ty = &field.ty;
        if attributes.default {
            reads.push(quote! { members.member_or_default::<#ty>(#name, at) });
            members.push(quote! { ::wire::Member::optional::<#ty>(#name) });
        } else {
            reads.push(quote! { members.member::<#ty>(#name, at) });
            members.push(quote! { ::wire::Member::of::<#ty>(#name) });
        }
        idents.push(field_ident);
        names.push(name);
        types.push(ty);
    }
    let count = idents.len();
    // Names of our own, so that a member called `at` or `members` hides nothing.
    let locals: Vec<_> = (0..count)
        .map(|index| format_ident!("member_{index}"))
        .collect();
    Ok(quote! {
        impl ::wire::Shape for #ident {
            #[allow(unused_mut, unused_variables)]
            fn decode(node: ::wire::Node, at: &mut ::wire::Decoder) -> Option<Self> {
                let mut members = at.structure(node)?;
                // Every member is read before any is missed, so that all violations are reported.
                #( let #locals: Option<#types> = #reads; )*
                Some(Self { #( #idents: #locals?, )* })
            }
            fn encode(self) -> ::wire::Node {
                #[allow(unused_mut)]
                let mut members = Vec::with_capacity(#count);
                #( ::wire::Node::push(&mut members, #names, self.#idents); )*
                ::wire::Node::Map(members)
            }
            fn schema() -> ::wire::Schema {
                ::wire::Schema::Structure(vec![ #( #members, )* ])
            }
        }
    })
}

fn string_enum(
    input: &DeriveInput,
    container: &Attributes,
    data: &syn::DataEnum,
) -> Result<proc_macro2::TokenStream> {
    let ident = &input.ident;
    let rule = container.rename_all.as_deref().unwrap_or("PascalCase");
    let (mut variants, mut names) = (vec![], vec![]);
    for variant in &data.variants {
        if !matches!(variant.fields, Fields::Unit) {
            return Err(Error::new_spanned(
                variant,
                "a variant of an AWS string enum holds no data",
            ));
        }
        let attributes = Attributes::read(&variant.attrs)?;
        names.push(match attributes.name {
            Some(name) => name,
            None => rename(&snake(&variant.ident.to_string()), rule, &variant.ident)?,
        });
        variants.push(&variant.ident);
    }
    Ok(quote! {
        impl #ident {
            /// Every value, as it is spelled on the wire, in the order of AWS's model.
            pub const VALUES: &'static [&'static str] = &[ #( #names, )* ];

            /// The value as it is spelled on the wire.
            pub const fn as_str(&self) -> &'static str {
                match self { #( Self::#variants => #names, )* }
            }

            /// The value that is spelled so on the wire.
            pub fn parse(text: &str) -> Option<Self> {
                match text { #( #names => Some(Self::#variants), )* _ => None }
            }
        }
        impl ::std::fmt::Display for #ident {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl ::wire::Shape for #ident {
            fn decode(node: ::wire::Node, at: &mut ::wire::Decoder) -> Option<Self> {
                let text = at.string(node)?;
                let value = Self::parse(&text);
                if value.is_none() {
                    at.not_in_set(&text, Self::VALUES);
                }
                value
            }
            fn encode(self) -> ::wire::Node {
                ::wire::Node::from(self.as_str())
            }
            fn schema() -> ::wire::Schema {
                ::wire::Schema::Enum(Self::VALUES)
            }
        }
    })
}

/// `function_name` under the naming rule of its structure.
fn rename(snake: &str, rule: &str, at: &syn::Ident) -> Result<String> {
    let snake = snake.trim_start_matches("r#");
    let words = snake.split('_').filter(|w| !w.is_empty());
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters.next().map_or_else(String::new, |first| {
            first.to_uppercase().chain(letters).collect()
        })
    };
    Ok(match rule {
        "PascalCase" => words.map(capital).collect(),
        "camelCase" => {
            let pascal: String = words.map(capital).collect();
            let mut letters = pascal.chars();
            letters
                .next()
                .map(|first| first.to_lowercase().chain(letters).collect())
                .unwrap_or_default()
        }
        "SCREAMING_SNAKE_CASE" => snake.to_uppercase(),
        "kebab-case" => snake.replace('_', "-"),
        "lowercase" => snake.replace('_', ""),
        _ => {
            return Err(Error::new_spanned(
                at,
                format!("unknown naming rule {rule}"),
            ));
        }
    })
}

/// `PascalCase` to `snake_case`, so that one rule serves fields and variants.
fn snake(pascal: &str) -> String {
    let mut text = String::new();
    for (index, letter) in pascal.chars().enumerate() {
        if letter.is_uppercase() && index > 0 {
            text.push('_');
        }
        text.extend(letter.to_lowercase());
    }
    text
}
