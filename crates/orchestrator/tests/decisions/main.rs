//! The orchestrator's decisions, told as scenarios and attacked with random histories.

#[cfg(test)]
mod history;
#[cfg(test)]
mod jobs;
#[cfg(test)]
mod objects;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod script;
#[cfg(test)]
mod world;
