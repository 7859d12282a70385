//! A whole Dockerfile: what stands before the first `FROM`, and the stages.

use crate::error::{ParseError, Syntax};
use crate::instruction::{From, Instruction, Kind};
use crate::lines;
use crate::parse::{self, Parsed};

/// A parsed file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// `ARG`s before the first `FROM`: seen by `FROM`s, and by stages that repeat the name.
    pub global_args: Vec<Instruction>,
    /// At least one.
    pub stages: Vec<Stage>,
    /// `\` or `` ` ``.
    pub escape: char,
}

/// One `FROM` and what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    pub from: From,
    pub instructions: Vec<Instruction>,
}

impl Dockerfile {
    /// Reads a file. `name` is for the messages.
    pub fn parse(text: &str, name: &str) -> Result<Self, ParseError> {
        if text.is_empty() {
            return Err(ParseError::Empty(name.to_owned()));
        }
        let split = lines::split(text)?;
        if split.lines.is_empty() {
            return Err(ParseError::NoInstructions(name.to_owned()));
        }
        let escape = split.escape;
        let mut file = Dockerfile { global_args: Vec::new(), stages: Vec::new(), escape };
        for line in split.lines {
            let number = line.number;
            let at = |what| ParseError::At { line: number, what };
            match parse::line(line, escape).map_err(at)? {
                Parsed::From(from) => {
                    file.stages.push(Stage { from, instructions: Vec::new() });
                }
                Parsed::Instruction(instruction) => match file.stages.last_mut() {
                    Some(stage) => stage.instructions.push(instruction),
                    None if matches!(instruction.kind, Kind::Arg(_)) => {
                        file.global_args.push(instruction);
                    }
                    None => return Err(at(Syntax::NoStage)),
                },
            }
        }
        if file.stages.is_empty() {
            return Err(ParseError::NoStages);
        }
        Ok(file)
    }

    /// The stage called `name`, or with that number.
    pub fn find(&self, name: &str) -> Option<usize> {
        let by_name = self.stages.iter().position(|stage| {
            stage.from.name.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(name))
        });
        by_name.or_else(|| name.parse().ok().filter(|index| *index < self.stages.len()))
    }

    /// Drops the stages after `target`.
    pub fn until(mut self, target: &str) -> Result<Self, ParseError> {
        if !target.is_empty() {
            let last = self.find(target).ok_or_else(|| ParseError::NoTarget(target.to_owned()))?;
            self.stages.truncate(last + 1);
        }
        Ok(self)
    }

    /// How many `Step`s there are: global arguments, `FROM`s, instructions.
    pub fn steps(&self) -> usize {
        let stages = self.stages.iter().map(|stage| 1 + stage.instructions.len());
        self.global_args.len() + stages.sum::<usize>()
    }
}

#[cfg(test)]
mod tests;
