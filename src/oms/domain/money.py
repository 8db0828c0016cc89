"""Money in minor units: an amount is a whole number of cents, never a float."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

import attrs

from oms.domain.errors import InvalidValue

MAX_MINOR = 10**15
"""Ten trillion units of a two-digit currency: far inside a signed 64-bit column."""

# ISO 4217, table A.1, minor units other than 2.
_TWO_IS_WRONG = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
_EXPONENTS = {code: exponent for exponent, codes in _TWO_IS_WRONG.items() for code in codes.split()}


@attrs.frozen
class Currency:
    """An ISO 4217 code with the digits of its minor unit."""

    code: str
    exponent: int

    @classmethod
    def of(cls, code: str) -> Currency:
        """Return the currency of a three-letter code; raises `InvalidValue` for any other text."""
        if len(code) == 3 and code.isascii() and code.isalpha() and code.isupper():
            return cls(code, _EXPONENTS.get(code, 2))
        raise InvalidValue("invalid_currency", f"{code!r} is not a three-letter currency code")

    def __str__(self) -> str:
        return self.code


@attrs.frozen(order=False)
class Money:
    """`minor` units of a currency: a whole number from 0 to `MAX_MINOR`; `InvalidValue` for anything else."""

    minor: int
    currency: Currency

    def __attrs_post_init__(self) -> None:
        """Check the bounds here, so that no way of making an amount avoids them."""
        if type(self.minor) is not int or not 0 <= self.minor <= MAX_MINOR:
            raise InvalidValue("invalid_amount", f"an amount is a whole number of minor units from 0 to {MAX_MINOR}")
        if type(self.currency) is not Currency:
            raise InvalidValue("invalid_currency", "the currency of an amount must be a Currency")

    @classmethod
    def of(cls, amount: Decimal | int | str, currency: Currency) -> Money:
        """Return an amount given in major units; refuses a negative, infinite, too large or too fine one."""
        minor, rest = _minor_units(exact_amount(amount), currency.exponent)
        if rest:
            raise InvalidValue(
                "invalid_amount",
                f"{currency.code} has {currency.exponent} decimal places; the amount has more",
            )
        if minor > MAX_MINOR:
            raise InvalidValue("invalid_amount", "the amount is too large")
        return cls(minor, currency)

    @classmethod
    def rounded(cls, amount: Decimal | int | str, currency: Currency) -> Money:
        """Return an amount given in major units, rounded to the currency's digits; half a minor unit is rounded up.

        Refused when negative, not finite or too large. The rule is that of PostgreSQL's `numeric(38,2)`, the column in
        which the Spring system stores amounts ("the numeric type rounds ties away from zero", manual, section 8.1).
        """
        exact = exact_amount(amount)
        if exact.adjusted() < -currency.exponent - 1:  # below a tenth of a minor unit
            return cls(0, currency)
        numerator, denominator = exact.as_integer_ratio()
        minor = (2 * numerator * 10**currency.exponent + denominator) // (2 * denominator)
        if minor > MAX_MINOR:
            raise InvalidValue("invalid_amount", "the amount is too large")
        return cls(minor, currency)

    @property
    def amount(self) -> Decimal:
        """The amount in major units; whole amounts have no decimal places (`500`, `499.90`).

        Made from text, because the result of every arithmetic operation on decimals depends on the host program's
        decimal context.
        """
        whole, rest = divmod(self.minor, 10**self.currency.exponent)
        return Decimal(f"{whole}.{rest:0{self.currency.exponent}}" if rest else whole)

    def __str__(self) -> str:
        """Return all digits of the currency and its code, such as `500.00 EUR`."""
        whole, rest = divmod(self.minor, 10**self.currency.exponent)
        digits = f"{whole}.{rest:0{self.currency.exponent}}" if self.currency.exponent else str(whole)
        return f"{digits} {self.currency.code}"


def exact_amount(amount: Decimal | int | str) -> Decimal:
    """Return the amount as a finite decimal from 0 to a bound that keeps exact arithmetic cheap.

    Raises `InvalidValue` for any other number, and for a text that is no number.
    """
    try:
        exact = Decimal(amount)
    except (InvalidOperation, ValueError):
        raise InvalidValue("invalid_amount", "the amount must be a number") from None
    if not exact.is_finite():
        raise InvalidValue("invalid_amount", "the amount must be a finite number")
    if exact < 0:
        raise InvalidValue("invalid_amount", "the amount can't be negative")
    if exact.adjusted() > len(str(MAX_MINOR)) or exact > MAX_MINOR:
        raise InvalidValue("invalid_amount", "the amount is too large")
    return exact


def _minor_units(exact: Decimal, exponent: int) -> tuple[int, int]:
    """Return whole minor units, and a remainder that is 0 if the amount isn't finer; exact for any number of digits."""
    if not exact:
        return 0, 0
    if exact.adjusted() < -exponent:  # smaller than one minor unit: avoids computing a large power of ten
        return 0, 1
    numerator, denominator = exact.as_integer_ratio()
    scale: int = 10**exponent
    return divmod(numerator * scale, denominator)
