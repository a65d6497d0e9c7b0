from __future__ import annotations

from typing import Any

import pytest
from multidict import CIMultiDict
from pydantic import ValidationError

from llm_contract.errors import ApiError, ErrorKind
from llm_gateway.classes import DEFAULT_CLASSES, ClassTable
from llm_gateway.request.classify import classify
from llm_gateway.settings import GatewaySettings
from llm_gateway.tenancy.keys import key_hash
from llm_gateway.tenancy.rate_limit import Limits
from llm_gateway.tenancy.tenants import ANONYMOUS_TENANT, TenantSettings, TenantTable, is_loopback, keys_required

CLASSES = ClassTable(DEFAULT_CLASSES, "standard")
BLUE = TenantSettings(
    name="blue", keys=(key_hash("k-blue"), key_hash("k-blue-2")), weight=2, rpm=60, most_urgent="batch"
)
RED = TenantSettings(name="red", keys=(key_hash("k-red"),), default_class="interactive")
ENGINES = ["http://127.0.0.1:8001"]


def table(*tenants: TenantSettings, required: bool) -> TenantTable:
    return TenantTable(tenants, CLASSES, keys_required=required)


def headers(**given: str) -> CIMultiDict[str]:
    return CIMultiDict({name.replace("_", "-"): value for name, value in given.items()})


def settings(**given: Any) -> GatewaySettings:
    return GatewaySettings(engines=ENGINES, **given)


@pytest.mark.parametrize(("key", "name"), [("k-blue", "blue"), ("k-blue-2", "blue"), ("k-red", "red")])
def test_the_key_names_the_tenant_whatever_x_tenant_says(key: str, name: str) -> None:
    found = table(BLUE, RED, required=True).authenticate(headers(authorization=f"Bearer {key}", x_tenant="other"))
    assert found.name == found.label == name


@pytest.mark.parametrize("authorization", [None, "Bearer k-bluE", "Bearer ", "k-blue", "Basic k-blue", "Bearer \udcff"])
def test_without_a_known_key_it_is_401_and_nothing_is_repeated(authorization: str | None) -> None:
    given = headers(x_tenant="blue", **({"authorization": authorization} if authorization else {}))
    with pytest.raises(ApiError) as caught:
        table(BLUE, RED, required=True).authenticate(given)
    assert caught.value.kind is ErrorKind.UNAUTHORIZED
    assert caught.value.kind.code == "invalid_api_key"
    assert "k-blu" not in caught.value.message


def test_what_a_tenant_is_worth_and_may_have() -> None:
    blue = table(BLUE, RED, required=True).by_name["blue"]
    assert (blue.weight, blue.limits) == (2, Limits(60, None))
    assert blue.most_urgent is CLASSES.named("batch")


@pytest.mark.parametrize(
    ("given", "name", "label"),
    [
        ({}, "", "anonymous"),
        ({"x_tenant": "blue"}, "blue", "blue"),
        ({"x_tenant": "green"}, "green", "other"),
        ({"authorization": "Bearer k-red", "x_tenant": "blue"}, "red", "red"),
        ({"authorization": "Bearer unknown", "x_tenant": "blue"}, "blue", "blue"),
    ],
)
def test_with_keys_off_the_header_is_believed(given: dict[str, str], name: str, label: str) -> None:
    found = table(BLUE, RED, required=False).authenticate(headers(**given))
    assert (found.name, found.label) == (name, label)


@pytest.mark.parametrize("name", ["x" * 65, "a\tb", "ä"])
def test_a_tenant_name_is_short_and_printable(name: str) -> None:
    with pytest.raises(ApiError, match="x-tenant must have at most 64 printable") as caught:
        table(required=False).authenticate(headers(x_tenant=name))
    assert caught.value.kind is ErrorKind.INVALID_REQUEST


def test_nobody_is_one_and_the_same() -> None:
    assert table(required=False).authenticate(headers()) is ANONYMOUS_TENANT


@pytest.mark.parametrize(
    ("tenants", "required", "own", "sent"),
    [
        ((), False, None, "Bearer theirs"),
        ((), False, "Bearer own", "Bearer own"),
        ((BLUE,), False, None, None),
        ((BLUE,), True, None, None),
        ((BLUE,), True, "Bearer own", "Bearer own"),
    ],
)
def test_the_clients_authorization_is_the_engines_only_without_keys_of_ours(
    tenants: tuple[TenantSettings, ...], required: bool, own: str | None, sent: str | None
) -> None:
    found = table(*tenants, required=required).authorization_for(own, headers(authorization="Bearer theirs"))
    assert found == sent


@pytest.mark.parametrize(
    ("asked", "expected"), [("interactive", "batch"), ("standard", "batch"), ("batch", "batch"), (None, "batch")]
)
def test_a_tenant_gets_no_more_urgent_class_than_its_cap(asked: str | None, expected: str) -> None:
    given = headers(x_priority=asked) if asked else headers()
    assert classify(CLASSES, given, {}, most_urgent=CLASSES.named("batch")).name == expected


def test_a_tenants_default_class_comes_before_the_gateways() -> None:
    red = table(RED, required=False).by_name["red"]
    assert classify(CLASSES, headers(), {}, red.default, most_urgent=red.most_urgent).name == "interactive"
    assert classify(CLASSES, headers(), {"priority": 2}, red.default, most_urgent=red.most_urgent).name == "batch"


def test_a_reload_changes_the_table_in_place() -> None:
    tenants = table(BLUE, required=False)
    tenants.replace((RED,), CLASSES, keys_required=True)
    assert tenants.authenticate(headers(authorization="Bearer k-red")).name == "red"
    with pytest.raises(ApiError):
        tenants.authenticate(headers(authorization="Bearer k-blue"))


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("10.0.0.1", False),
        ("gateway.example", False),
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    ("host", "require", "expected"),
    [
        ("127.0.0.1", "auto", False),
        ("0.0.0.0", "auto", True),
        ("127.0.0.1", True, True),
        ("0.0.0.0", False, False),
    ],
)
def test_when_keys_are_required(host: str, require: Any, expected: bool) -> None:
    assert keys_required(host, require, (BLUE,)) is expected


def test_it_does_not_listen_to_the_world_without_keys() -> None:
    with pytest.raises(ValidationError, match=r"keys are required to listen on 0\.0\.0\.0, and no tenant has any"):
        settings(host="0.0.0.0")
    with pytest.raises(ValidationError, match="keys are required"):
        settings(require_keys=True, tenants=[{"name": "blue"}])
    assert settings(host="0.0.0.0", require_keys=False)
    assert settings(host="0.0.0.0", tenants=[BLUE])


@pytest.mark.parametrize(
    ("tenants", "message"),
    [
        ([{"name": "a"}, {"name": "a"}], "tenants: each name must be unique"),
        ([{"name": "a", "keys": [key_hash("k")]}, {"name": "b", "keys": [key_hash("k")]}], "a and b have the same key"),
        ([{"name": "a", "default_class": "vip"}], "default_class 'vip' is not one of the classes interactive"),
        ([{"name": "a", "most_urgent": "vip"}], "most_urgent 'vip' is not one of the classes"),
        ([{"name": "a", "default_class": "interactive", "most_urgent": "batch"}], "above its most_urgent batch"),
        ([{"name": "other"}], "the name is reserved"),
        ([{"name": "a b"}], "name"),
        ([{"name": "a", "weight": 0}], "weight"),
        ([{"name": "a", "rpm": 0}], "rpm"),
        ([{"name": "a", "keys": ["sk-in-the-clear"]}], "configured by its hash"),
        ([{"name": "a", "colour": "red"}], "colour"),
    ],
)
def test_contradictions_are_refused_with_where_they_are(tenants: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        settings(tenants=tenants)


def test_the_admin_api_needs_a_key_off_loopback() -> None:
    with pytest.raises(ValidationError, match=r"the admin API needs a key to listen on 0\.0\.0\.0"):
        settings(admin={"port": 9000, "host": "0.0.0.0"})
    assert settings(admin={"port": 9000, "host": "0.0.0.0", "key": key_hash("k")})
    assert settings().admin.port is None
