//! Words of nf_tables' rules as netlink has them: one expression after another, which work on registers.

use crate::netlink::Request;

// linux/netfilter/nf_tables.h.
const EXPRESSION: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const META_PROTOCOL: u32 = 16;
/// The first of 16 bytes.
pub(crate) const REGISTER: u32 = 1;

pub(crate) fn expression(
    list: Request,
    name: &str,
    data: impl FnOnce(Request) -> Request,
) -> Request {
    list.nested(EXPRESSION, |expression| {
        expression.text(EXPRESSION_NAME, name).nested(EXPRESSION_DATA, data)
    })
}

/// One that has nothing but numbers.
pub(crate) fn numbers(list: Request, name: &str, fields: &[(u16, u32)]) -> Request {
    expression(list, name, |data| {
        fields.iter().fold(data, |data, (kind, field)| number(data, *kind, *field))
    })
}

/// The rule ends here unless the register is equal (0) to `bytes`.
pub(crate) fn compare(list: Request, bytes: &[u8]) -> Request {
    expression(list, "cmp", |compare| value(number(number(compare, 1, REGISTER), 2, 0), 3, bytes))
}

/// The rule ends here unless it is a packet of `protocol`.
pub(crate) fn of_protocol(list: Request, protocol: u8) -> Request {
    compare(numbers(list, "meta", &[(1, REGISTER), (2, META_PROTOCOL)]), &[protocol])
}

/// Puts `bytes` into a register.
pub(crate) fn set(list: Request, register: u32, bytes: &[u8]) -> Request {
    expression(list, "immediate", |set| value(number(set, 1, register), 2, bytes))
}

/// nf_tables has numbers in the network's byte order.
pub(crate) fn number(request: Request, kind: u16, number: u32) -> Request {
    request.attr(kind, &number.to_be_bytes())
}

pub(crate) fn value(request: Request, kind: u16, bytes: &[u8]) -> Request {
    request.nested(kind, |data| data.attr(1, bytes))
}
