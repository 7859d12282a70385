//! Tokens to a tree of nodes.

use super::TemplateError;
use super::lexer::{Piece, Token};

/// A node of the template's tree.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Text(String),
    Print(Pipeline),
    /// Assigns without printing.
    Set(Pipeline),
    If {
        test: Pipeline,
        then: Vec<Node>,
        otherwise: Vec<Node>,
    },
    With {
        test: Pipeline,
        then: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Range {
        over: Pipeline,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
}

/// `$i, $v := a b | c d`.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Pipeline {
    pub(super) declares: Vec<String>,
    pub(super) commands: Vec<Vec<Term>>,
}

/// One operand of a command.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Term {
    Field(Vec<String>),
    Variable(String, Vec<String>),
    Function(String),
    Text(String),
    Number(f64),
    Bool(bool),
    Nil,
    Nested(Box<Pipeline>, Vec<String>),
}

/// Reads the pieces of a whole template.
pub(super) fn parse(pieces: Vec<Piece>) -> Result<Vec<Node>, TemplateError> {
    let mut parser = Parser { pieces: pieces.into_iter() };
    let (nodes, end) = parser.block()?;
    match end {
        Stop::Eof => Ok(nodes),
        Stop::Else(_) => Err(syntax("unexpected {{else}}")),
        Stop::Close => Err(syntax("unexpected {{end}}")),
    }
}

/// Keeps of each printed pipeline the field it is about.
pub(super) fn bare_fields(nodes: &[Node]) -> Vec<Node> {
    let mut out = Vec::new();
    for node in nodes {
        match node {
            Node::Text(_) => out.push(node.clone()),
            Node::Print(pipeline) => {
                let terms = pipeline.commands.iter().flatten();
                let field = terms.into_iter().find_map(|term| match term {
                    Term::Field(path) if !path.is_empty() => path.first().cloned(),
                    Term::Nested(inner, _) => {
                        inner.commands.iter().flatten().find_map(|t| match t {
                            Term::Field(path) => path.first().cloned(),
                            _ => None,
                        })
                    }
                    _ => None,
                });
                if let Some(field) = field {
                    let commands = vec![vec![Term::Field(vec![field])]];
                    out.push(Node::Print(Pipeline { declares: Vec::new(), commands }));
                }
            }
            Node::Set(_) => {}
            Node::If { then, .. } | Node::With { then, .. } => out.extend(bare_fields(then)),
            Node::Range { body, .. } => out.extend(bare_fields(body)),
        }
    }
    out
}

fn syntax(reason: &str) -> TemplateError {
    TemplateError::Syntax(reason.to_owned())
}

/// What ended a block.
enum Stop {
    Eof,
    /// `{{end}}`.
    Close,
    /// `{{else}}` with the tokens after it.
    Else(Vec<Token>),
}

struct Parser {
    pieces: std::vec::IntoIter<Piece>,
}

impl Parser {
    fn block(&mut self) -> Result<(Vec<Node>, Stop), TemplateError> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let tokens = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(tokens) => tokens,
            };
            match tokens.first() {
                None => return Err(syntax("missing value for command")),
                Some(Token::Word(word)) if word == "end" => return Ok((nodes, Stop::Close)),
                Some(Token::Word(word)) if word == "else" => {
                    return Ok((nodes, Stop::Else(tokens[1..].to_vec())));
                }
                Some(Token::Word(word)) if matches!(word.as_str(), "if" | "with" | "range") => {
                    nodes.push(self.control(&word.clone(), &tokens[1..])?);
                }
                Some(_) => {
                    let pipeline = pipeline(&tokens)?;
                    let print = pipeline.declares.is_empty();
                    nodes.push(if print { Node::Print(pipeline) } else { Node::Set(pipeline) });
                }
            }
        }
        Ok((nodes, Stop::Eof))
    }

    fn control(&mut self, word: &str, head: &[Token]) -> Result<Node, TemplateError> {
        let test = pipeline(head)?;
        let (then, end) = self.block()?;
        let otherwise = match end {
            Stop::Eof => return Err(syntax("unexpected EOF")),
            Stop::Close => Vec::new(),
            Stop::Else(rest) => match rest.first() {
                Some(Token::Word(next)) if next == "if" || next == "with" => {
                    vec![self.control(&next.clone(), &rest[1..])?]
                }
                _ => match self.block()? {
                    (nodes, Stop::Close) => nodes,
                    _ => return Err(syntax("unexpected EOF")),
                },
            },
        };
        Ok(match word {
            "if" => Node::If { test, then, otherwise },
            "with" => Node::With { test, then, otherwise },
            _ => Node::Range { over: test, body: then, otherwise },
        })
    }
}

fn pipeline(tokens: &[Token]) -> Result<Pipeline, TemplateError> {
    let mut at = 0;
    let pipeline = pipeline_at(tokens, &mut at)?;
    if at < tokens.len() {
        return Err(syntax("unexpected \")\" in command"));
    }
    Ok(pipeline)
}

/// Reads up to the end or an unmatched `)`.
fn pipeline_at(tokens: &[Token], at: &mut usize) -> Result<Pipeline, TemplateError> {
    let mut pipeline = Pipeline { declares: declares(tokens, at), commands: Vec::new() };
    let mut command = Vec::new();
    while let Some(token) = tokens.get(*at) {
        let term = match token {
            Token::Close(_) => break,
            Token::Pipe => {
                if command.is_empty() {
                    return Err(syntax("missing value for command"));
                }
                pipeline.commands.push(std::mem::take(&mut command));
                *at += 1;
                continue;
            }
            Token::Open => {
                *at += 1;
                let inner = pipeline_at(tokens, at)?;
                match tokens.get(*at) {
                    Some(Token::Close(fields)) => Term::Nested(Box::new(inner), fields.clone()),
                    _ => return Err(syntax("unclosed left paren")),
                }
            }
            Token::Field(path) => Term::Field(path.clone()),
            Token::Variable(name, path) => Term::Variable(name.clone(), path.clone()),
            Token::Text(text) => Term::Text(text.clone()),
            Token::Number(number) => Term::Number(*number),
            Token::Word(word) => match word.as_str() {
                "true" => Term::Bool(true),
                "false" => Term::Bool(false),
                "nil" => Term::Nil,
                name if super::functions::exists(name) => Term::Function(word.clone()),
                name => {
                    return Err(TemplateError::Syntax(format!("function {name:?} not defined")));
                }
            },
            Token::Comma => return Err(syntax("unexpected \",\" in operand")),
            Token::Declare | Token::Assign => return Err(syntax("unexpected \":=\" in operand")),
        };
        command.push(term);
        *at += 1;
    }
    if command.is_empty() {
        return Err(syntax("missing value for command"));
    }
    pipeline.commands.push(command);
    Ok(pipeline)
}

/// `$a :=` or `$a, $b :=` in front of a pipeline.
fn declares(tokens: &[Token], at: &mut usize) -> Vec<String> {
    let rest = &tokens[*at..];
    match rest {
        [Token::Variable(a, _), Token::Declare | Token::Assign, ..] => {
            *at += 2;
            vec![a.clone()]
        }
        [
            Token::Variable(a, _),
            Token::Comma,
            Token::Variable(b, _),
            Token::Declare | Token::Assign,
            ..,
        ] => {
            *at += 4;
            vec![a.clone(), b.clone()]
        }
        _ => Vec::new(),
    }
}
