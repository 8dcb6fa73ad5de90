"""Routes: the plain ones are botocore's, botocore is asked about the others, and what the wire cannot has a reason.

``plain_route`` gives no answer in a process that has loaded botocore, as that of these tests may have. So it is asked
in processes of their own, each with an environment in which there is nothing but what the test put there.
"""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from storagekit.location import Location
from storagekit_conformance.servers import make_certificate
from storagekit_s3 import boto_route as boto_routes
from storagekit_s3.boto_client import make_client
from storagekit_s3.boto_route import boto_route
from storagekit_s3.driver import S3Driver
from storagekit_s3.exchanges import Caller, Way
from storagekit_s3.options import Connection
from storagekit_s3.pools import Pool
from storagekit_s3.retrying import Retrying
from storagekit_s3.routes import TOTAL_ATTEMPTS, Route, Trust, address_of, plain_route

# There, proxies are settings of the system, which only botocore looks at.
plain_here = pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="on this system no set-up is plain")
PAIR: dict[str, Any] = {"aws_access_key_id": "the-id", "aws_secret_access_key": "the-secret"}
VARIABLES = {"AWS_ACCESS_KEY_ID": "env-id", "AWS_SECRET_ACCESS_KEY": "env-secret", "AWS_DEFAULT_REGION": "eu-west-1"}
KEYS = Connection(region_name="eu-west-1", **PAIR)
LOCAL = replace(KEYS, endpoint_url="http://127.0.0.1:9000")

# Reads cases from its input: options of a connection, a bucket, variables. First all the plain routes, then botocore's.
PROGRAM = """
import json, os, sys
from storagekit_s3.options import Connection
from storagekit_s3.routes import Route, plain_route

given = json.load(sys.stdin)
base = dict(os.environ)

def shown(route):
    if not isinstance(route, Route):
        return route
    who = None if route.credentials is None else route.credentials()
    return {
        "endpoint": route.endpoint,
        "url": route.url,
        "region": route.region,
        "who": None if who is None else [who.access_key, who.secret_key, who.token],
        "trust": [route.trust.verify, route.trust.bundle],
        "checksums": route.checksums,
        "signs_payload": route.signs_payload,
        "attempts": route.attempts,
    }

def ask(route_of):
    answers = []
    for case in given["cases"]:
        os.environ.clear()
        os.environ.update(base | case["variables"])
        try:
            answers.append(shown(route_of(Connection(**case["options"]), case["bucket"])))
        except Exception as error:
            answers.append(f"{type(error).__name__}: {error}")
    return answers

for name in given["load"]:
    __import__(name)
plain = ask(plain_route)
assert given["load"] or not {"boto3", "botocore"} & set(sys.modules)
botos = []
if given["boto"]:
    from storagekit_s3.boto_route import boto_route
    botos = ask(boto_route)
print(json.dumps([plain, botos]))
"""


def case(bucket: str = "box", variables: Mapping[str, str] | None = None, **options: object) -> dict[str, Any]:
    return {"bucket": bucket, "variables": variables or {}, "options": options}


def asked(
    folder: Path, cases: Sequence[Mapping[str, Any]], *, boto: bool = False, load: Sequence[str] = ()
) -> tuple[list[Any], list[Any]]:
    """What plain_route says to *cases* in a fresh process, and what boto_route does after it."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore:datetime.datetime.utc:DeprecationWarning", "-c", PROGRAM],
        input=json.dumps({"cases": cases, "boto": boto, "load": load}),
        env=bare_environment(folder),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    plain, botos = json.loads(run.stdout.splitlines()[-1])
    return plain, botos


def bare_environment(folder: Path) -> dict[str, str]:
    """Nothing of anybody's account, and no certificates either."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "SYSTEMROOT") if name in os.environ}
    return {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        **kept,
        "HOME": str(folder),
        "AWS_EC2_METADATA_DISABLED": "true",
    }


# ---------------------------------------------------------------- the plain routes are botocore's

REGIONS = ("eu-west-1", "us-east-1", "ap-southeast-2", "us-west-2", "ca-central-1", "il-central-1", "mx-central-1")
BUCKETS = ("box", "a-long-bucket-name-1", "0numbers0", "x" * 63)
ODD_BUCKETS: tuple[str, ...] = (
    "with.dots",
    "UPPER",
    "under_score",
    "ab",
    "a",
    "xn--box",
    "sthree-box",
    "-box",
    "box-",
    "x" * 64,
    "a--b",
)
ODD_BUCKETS += ("box-s3alias", "box--ol-s3", "1.2.3.4", "a..b", "amzn-s3-demo-box", "box--x-s3", "box--table-s3")
ENDPOINTS = (
    *("http://127.0.0.1:9000", "https://127.0.0.1:9000", "http://store.example", "https://store.example"),
    *("http://store.example:80", "https://store.example:443", "http://store.example:443", "https://store.example/"),
    *("http://127.0.0.1:9000/", "http://[::1]:9000", "https://[::1]", "http://localhost:9000", "https://STORE.example"),
)


def compare(folder: Path, cases: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Assert that every plain route is botocore's; the plain ones."""
    plain, botos = asked(folder, cases, boto=True)
    triples = zip(cases, plain, botos, strict=True)
    assert [(one, its, theirs) for one, its, theirs in triples if its not in (None, theirs)] == []
    return plain


def lacking(cases: Sequence[Mapping[str, Any]], routes: Sequence[Any]) -> list[Mapping[str, Any]]:
    return [one for one, route in zip(cases, routes, strict=True) if route is None]


@plain_here
def test_amazons_plain_routes_are_those_of_botocore(tmp_path: Path) -> None:
    usual = [case(bucket, region_name=region, **PAIR) for region in REGIONS for bucket in BUCKETS]
    usual += [
        case(region_name="eu-west-1", addressing_style="path", **PAIR),
        case(region_name="us-east-1", addressing_style="path", **PAIR),
        case(region_name="eu-west-1", anonymous=True),
        case(region_name="eu-west-1", aws_session_token="the-token", **PAIR),
        case(region_name="eu-west-1", verify=False, **PAIR),
    ]
    odd = [case(bucket, region_name="eu-west-1", **PAIR) for bucket in ODD_BUCKETS]
    odd += [case(bucket, region_name="us-east-1", addressing_style="path", **PAIR) for bucket in ODD_BUCKETS]
    odd += [
        case(region_name=region, **PAIR)
        for region in ("cn-north-1", "us-gov-west-1", "aws-global", "us-east-9", "eu-isoe-west-1", "nowhere", "s3")
    ]
    routes = compare(tmp_path, usual + odd)
    assert lacking(usual, routes[: len(usual)]) == []
    assert routes[0]["url"] == "https://box.s3.eu-west-1.amazonaws.com"
    assert routes[0]["who"] == ["the-id", "the-secret", None]


@plain_here
def test_the_plain_routes_of_other_servers_are_those_of_botocore(tmp_path: Path) -> None:
    usual = [case(endpoint_url=endpoint, region_name="us-east-1", **PAIR) for endpoint in ENDPOINTS]
    usual += [
        case(bucket, endpoint_url="http://127.0.0.1:9000", region_name="eu-west-1", **PAIR)
        for bucket in (*BUCKETS, "with.dots", "UPPER", "under_score", "ab", "xn--box")
    ]
    usual += [
        case(endpoint_url="http://127.0.0.1:9000", region_name="garage", **PAIR),
        case(endpoint_url="https://store.example", region_name="garage", addressing_style="path", **PAIR),
        case(endpoint_url="https://store.example", region_name="us-east-1", anonymous=True),
        case(endpoint_url="https://store.example", region_name="us-east-1", aws_session_token="the-token", **PAIR),
        case(endpoint_url="https://store.example", region_name="us-east-1", verify=False, **PAIR),
    ]
    odd = [
        case(bucket, endpoint_url="https://store.example", region_name="eu-west-1", **PAIR) for bucket in ODD_BUCKETS
    ]
    odd += [
        case(endpoint_url=endpoint, region_name="us-east-1", **PAIR)
        for endpoint in (
            *("https://store.example/path", "https://me:word@store.example", "https://store.example?x=y", "https://"),
            *("https://s3.amazonaws.com", "https://s3.eu-west-1.amazonaws.com", "http://store.example:99999"),
            *("http://store_house:9000", "http://a..b", "http://-a", "http://store.example:0", "http://[nonsense]"),
        )
    ]
    routes = compare(tmp_path, usual + odd)
    assert lacking(usual, routes[: len(usual)]) == []
    assert routes[0]["url"] == "http://127.0.0.1:9000/box"


@plain_here
def test_plain_routes_from_the_environment_are_those_of_botocore(tmp_path: Path) -> None:
    first, second = tmp_path / "first.pem", tmp_path / "second.pem"
    make_certificate(first, tmp_path / "key.pem")
    second.write_bytes(first.read_bytes())
    general, special = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9000"}, {"AWS_ENDPOINT_URL_S3": "https://store.example/"}
    token = {"AWS_SESSION_TOKEN": "env-token"}
    bundle = {"AWS_CA_BUNDLE": str(first)}
    nothing = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    lambdas = {"AWS_LAMBDA_FUNCTION_NAME": "f", "AWS_EXECUTION_ENV": "AWS_Lambda_python3.11", "AWS_REGION": "eu-west-1"}
    usual = [
        case(variables=VARIABLES | more)
        for more in (
            *({}, general, special, general | special, token, token | general, bundle, bundle | special),
            *(nothing, nothing | general, lambdas, lambdas | token, {"REQUESTS_CA_BUNDLE": str(second)}),
            *(
                bundle | {"REQUESTS_CA_BUNDLE": str(second)},
                {"NO_PROXY": "127.0.0.1"},
                {"no_proxy": "*"},
                {"AWS_PAGER": ""},
            ),
            *({"AWS_SESSION_TOKEN": ""}, {"AWS_ENDPOINT_URL": ""}, {"AWS_ENDPOINT_URL_S3": ""} | general),
        )
    ]
    usual += [
        case(variables=VARIABLES | token, **PAIR),  # the token belongs to the other key
        case(variables=VARIABLES | token, aws_session_token="the-token", **PAIR),
        case(variables=VARIABLES, region_name="ap-southeast-2"),
        case(variables=VARIABLES | general, endpoint_url="https://store.example"),
        case(variables=VARIABLES | bundle, ca_bundle=str(second)),
        case(variables=VARIABLES | bundle, verify=False),
        case(variables=VARIABLES, anonymous=True),
        case(variables={"AWS_DEFAULT_REGION": "eu-west-1"}, anonymous=True),
        case(variables=VARIABLES | special, addressing_style="path"),
    ]
    odd = [
        case(variables=VARIABLES | more)
        for more in (
            *({"AWS_DEFAULT_REGION": ""}, {"AWS_ACCESS_KEY_ID": ""}, {"AWS_CA_BUNDLE": ""}, {"REQUESTS_CA_BUNDLE": ""}),
            *({"AWS_USE_DUALSTACK_ENDPOINT": "true"}, {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"} | general),
            *({"AWS_REGION": "us-east-1"}, {"AWS_MAX_ATTEMPTS": "7"}, {"AWS_SECURITY_TOKEN": "old"}),
            *(
                {"AWS_ENDPOINT_URL": "http://127.0.0.1:9000/path"},
                {"AWS_REQUEST_CHECKSUM_CALCULATION": "when_required"},
            ),
        )
    ]
    odd += [case(variables=VARIABLES | general | {"AWS_DEFAULT_REGION": ""})]
    routes = compare(tmp_path, usual + odd)
    assert lacking(usual, routes[: len(usual)]) == []
    assert routes[0]["who"] == ["env-id", "env-secret", None]


@plain_here
def test_what_is_not_plain_is_left_to_botocore(tmp_path: Path) -> None:
    content, empty = tmp_path / "content", tmp_path / "empty"
    content.write_text("[default]\n")
    empty.touch()
    at: dict[str, Any] = {"endpoint_url": "http://127.0.0.1:9000", "region_name": "us-east-1"}
    left = [
        case(profile="me", **at),
        *[
            case(variables=VARIABLES | {name: value})
            for name, value in {
                "AWS_PROFILE": "me",
                "AWS_DEFAULT_PROFILE": "me",
                "AWS_WHAT_COMES_NEXT": "true",
                "AWS_USE_FIPS_ENDPOINT": "true",
                "AWS_ROLE_ARN": "arn:aws:iam::1:role/r",
                "BOTO_CONFIG": "file",
                "HTTP_PROXY": "http://127.0.0.1:1",
                "https_proxy": "http://127.0.0.1:1",
                "ALL_PROXY": "http://127.0.0.1:1",
                "AWS_CONFIG_FILE": str(content),
                "AWS_SHARED_CREDENTIALS_FILE": str(content),
            }.items()
        ],
        case(**PAIR),
        case(endpoint_url="http://127.0.0.1:9000", **PAIR),
        case(**at),
        case(variables={"AWS_ACCESS_KEY_ID": "env-id"}, **at),
        case(variables={"AWS_SECRET_ACCESS_KEY": "env-secret"}, **at),
        *[
            case(bucket, region_name="eu-west-1", **PAIR)
            for bucket in ("box--use1-az4--x-s3", "box-s3alias", "with.dots")
        ],
        case("arn:aws:s3:eu-west-1:123456789012:accesspoint/mine", region_name="eu-west-1", **PAIR),
        case("box--use1-az4--x-s3", **at, **PAIR),
        *[case(addressing_style=style, **at, **PAIR) for style in ("virtual", "auto")],
        *[
            case(endpoint_url=endpoint, region_name="us-east-1", **PAIR)
            for endpoint in ("http://127.0.0.1:9000/path", "http://me:word@127.0.0.1:9000", "https://s3.amazonaws.com")
        ],
    ]
    plain, _ = asked(tmp_path, [*left, case(variables=VARIABLES | {"AWS_CONFIG_FILE": str(empty)})])
    assert [one for one, route in zip(left, plain, strict=False) if route is not None] == []
    assert plain[-1] is not None


@plain_here
def test_files_in_the_home_folder_are_left_to_botocore(tmp_path: Path) -> None:
    for name in ("config", "credentials"):
        home = tmp_path / name
        (home / ".aws").mkdir(parents=True)
        assert asked(home, [case(variables=VARIABLES)])[0] != [None]
        (home / ".aws" / name).write_text("[default]\n")
        assert asked(home, [case(variables=VARIABLES)])[0] == [None]


def test_where_botocore_is_loaded_it_is_asked(tmp_path: Path) -> None:
    assert asked(tmp_path, [case(variables=VARIABLES)], load=["botocore"])[0] == [None]


def test_an_arn_at_a_server_of_ones_own_is_left_to_botocore(tmp_path: Path) -> None:
    arn = "arn:aws:s3:us-east-1:123456789012:accesspoint:mine"
    at: dict[str, Any] = {"endpoint_url": "http://127.0.0.1:9000", "region_name": "us-east-1"}
    assert asked(tmp_path, [case(arn, **at, **PAIR)])[0] == [None]


# ---------------------------------------------------------------- botocore is asked


@pytest.fixture(autouse=True)
def nothing_of_anybodys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable and no file of AWS's, no proxy and no certificates."""
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy") or name == "REQUESTS_CA_BUNDLE":
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", f"{tmp_path}/config")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", f"{tmp_path}/credentials")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def found(connection: Connection, bucket: str = "box") -> Route:
    route = boto_route(connection, bucket)
    assert isinstance(route, Route), route
    return route


def reason(connection: Connection, bucket: str = "box") -> str:
    route = boto_route(connection, bucket)
    assert isinstance(route, str)
    return route


def configure(tmp_path: Path, *lines: str) -> None:
    (tmp_path / "config").write_text("\n".join(("[default]", *lines, "")))


@pytest.mark.parametrize("bucket", ["arn:aws:s3:eu-west-1:123456789012:accesspoint/mine", "box--use1-az4--x-s3"])
def test_access_points_and_directory_buckets_are_boto3s(bucket: str) -> None:
    assert "access points and directory buckets" in reason(KEYS, bucket)


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
def test_a_proxy_is_boto3s(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert "proxy" in reason(KEYS)
    assert isinstance(boto_route(LOCAL, "box"), Route)  # which is http
    monkeypatch.setenv("NO_PROXY", ".amazonaws.com")
    assert isinstance(boto_route(KEYS, "box"), Route)


def test_hosts_without_a_proxy_are_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert isinstance(boto_route(KEYS, "box"), Route)


def with_handler(monkeypatch: pytest.MonkeyPatch, event: str, handler: Any) -> None:
    """Register *handler* with the clients that boto_route makes, as a plugin of botocore's would."""

    def make(connection: Connection, session: Any = None) -> Any:
        client = make_client(connection, session)
        client.meta.events.register_first(event, handler)
        return client

    monkeypatch.setattr(boto_routes, "make_client", make)


def test_a_header_that_somebody_adds_is_boto3s(monkeypatch: pytest.MonkeyPatch) -> None:
    def add(request: Any, **_: object) -> None:
        request.headers["X-Company-Tenant"] = "me"

    with_handler(monkeypatch, "before-sign.s3", add)
    assert reason(KEYS) == "botocore adds the header x-company-tenant"


@pytest.mark.parametrize("event", ["before-send", "before-send.s3", "before-send.s3.HeadObject"])
def test_another_answer_than_the_networks_is_boto3s(monkeypatch: pytest.MonkeyPatch, event: str) -> None:
    from botocore.awsrequest import AWSResponse

    def answer(request: Any, **_: object) -> Any:
        return AWSResponse(request.url, 200, {"Content-Length": "0"}, boto_routes._Nothing())

    with_handler(monkeypatch, event, answer)
    assert "a mock" in reason(KEYS)


def test_another_signature_is_boto3s(monkeypatch: pytest.MonkeyPatch) -> None:
    def sign(request: Any, **_: object) -> None:
        request.headers["Authorization"] = "Bearer hunter2"

    with_handler(monkeypatch, "before-send.s3", sign)
    assert reason(KEYS) == "requests are signed in another way"


@pytest.mark.parametrize("version", ["s3", "s3-query", "s3v4-query"])
def test_a_signature_of_botocores_other_kinds_is_boto3s(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    with_handler(monkeypatch, "choose-signer.s3", lambda **_: version)
    assert reason(KEYS)


def test_no_credentials_is_botocores_error() -> None:
    from botocore.exceptions import NoCredentialsError

    with pytest.raises(NoCredentialsError):
        boto_route(Connection(region_name="eu-west-1"), "box")


def test_a_mock_of_boto3_is_not_passed_by() -> None:
    moto = pytest.importorskip("moto")
    driver = S3Driver()
    with moto.mock_aws():
        import boto3

        client = boto3.session.Session().client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="box")
        assert "a mock" in reason(Connection(region_name="us-east-1"))
        where, options = Location("s3", "box", "key"), {"region_name": "us-east-1"}
        try:
            driver.open_write(where, options, None).put([b"data"])
            assert client.get_object(Bucket="box", Key="key")["Body"].read() == b"data"
            assert driver.open_read(where, options, 64).head == b"data"
        finally:
            driver.close()
            client.close()


def test_the_settings_of_a_file_arrive(tmp_path: Path) -> None:
    plain = found(LOCAL)
    assert (plain.attempts, plain.signs_payload, plain.checksums) == (TOTAL_ATTEMPTS, False, False)
    assert found(KEYS).checksums
    configure(
        tmp_path,
        "max_attempts = 7",
        "request_checksum_calculation = when_supported",
        "s3 =",
        "  payload_signing_enabled = true",
    )
    route = found(LOCAL)
    assert (route.attempts, route.signs_payload, route.checksums) == (7, True, True)
    assert route.url == "http://127.0.0.1:9000/box"
    configure(tmp_path, "request_checksum_calculation = when_required", "s3 =", "  addressing_style = path")
    route = found(KEYS)
    assert (route.attempts, route.signs_payload, route.checksums) == (TOTAL_ATTEMPTS, False, False)
    assert route.url == "https://s3.eu-west-1.amazonaws.com/box"


def test_a_profile_has_an_endpoint_a_region_and_credentials(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("[profile me]\nregion = garage\nendpoint_url = http://127.0.0.1:9000/base\n")
    (tmp_path / "credentials").write_text(
        "[me]\naws_access_key_id = file-id\naws_secret_access_key = file-secret\naws_session_token = file-token\n"
    )
    route = found(Connection(profile="me"))
    assert (route.url, route.region, route.checksums) == ("http://127.0.0.1:9000/base/box", "garage", False)
    assert route.credentials is not None
    who = route.credentials()
    assert (who.access_key, who.secret_key, who.token) == ("file-id", "file-secret", "file-token")


def test_a_bundle_of_a_file_is_trusted_and_the_option_before_it(tmp_path: Path) -> None:
    own = tmp_path / "own.pem"
    make_certificate(own, tmp_path / "key.pem")
    configure(tmp_path, "ca_bundle = /somewhere/else.pem")
    assert found(KEYS).trust == Trust(True, "/somewhere/else.pem")
    assert found(replace(KEYS, ca_bundle=str(own))).trust == Trust(True, str(own))
    with pytest.raises(ValueError, match=r"names no file: .*missing\.pem"):
        boto_route(replace(KEYS, ca_bundle=str(tmp_path / "missing.pem")), "box")


def test_nobody_signs_for_the_anonymous() -> None:
    assert found(Connection(region_name="eu-west-1", anonymous=True)).credentials is None


def test_a_name_that_cannot_be_a_hosts_goes_into_the_path() -> None:
    assert found(KEYS, "with.dots").url == "https://s3.eu-west-1.amazonaws.com/with.dots"
    assert found(replace(LOCAL, addressing_style="virtual", endpoint_url="http://store.example:9000")).url == (
        "http://box.store.example:9000"
    )


# ---------------------------------------------------------------- trust, addresses, and what shows


def test_a_bundle_is_what_is_trusted(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    make_certificate(bundle, tmp_path / "key.pem")
    context = Trust(True, str(bundle)).context()
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    assert len(context.get_ca_certs()) == 1
    assert Trust(True, str(bundle)).context() is context


def test_without_verifying_anything_is_trusted() -> None:
    context = Trust(False, "/nowhere.pem").context()
    assert context.verify_mode == ssl.CERT_NONE
    assert not context.check_hostname


def test_the_usual_certificates_are_many() -> None:
    context = Trust().context()
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert len(context.get_ca_certs()) > 50


@pytest.mark.parametrize(
    "content", [None, b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_bundle_that_is_none_is_named(tmp_path: Path, content: bytes | None) -> None:
    bundle = tmp_path / "bundle.pem"
    if content is not None:
        bundle.write_bytes(content)
    with pytest.raises(ValueError, match=r"bundle\.pem") as wrong:
        Trust(True, str(bundle)).context()
    assert str(bundle) in str(wrong.value)


@pytest.mark.parametrize(
    ("url", "host", "port", "secure"),
    [
        ("http://127.0.0.1:9000/box", "127.0.0.1", 9000, False),
        ("http://store.example/box", "store.example", 80, False),
        ("https://box.s3.eu-west-1.amazonaws.com", "box.s3.eu-west-1.amazonaws.com", 443, True),
        ("https://[::1]:9000/box", "::1", 9000, True),
        ("https://STORE.example:443/base/box", "store.example", 443, True),
    ],
)
def test_an_address_is_that_of_the_route(url: str, host: str, port: int, secure: bool) -> None:
    route = Route(url, url, "us-east-1", None, Trust(), checksums=False)
    address = address_of(route, Connection(connect_timeout=1.5, read_timeout=2.5))
    assert (address.host, address.port, address.context is not None) == (host, port, secure)
    assert (address.connect_timeout, address.read_timeout) == (1.5, 2.5)


def test_no_secret_is_shown_by_anything_that_leads_to_one() -> None:
    held = replace(LOCAL, aws_secret_access_key="hunter2", aws_session_token="hunter3")
    route = found(held)
    way = Way(route, Pool(address_of(route, held)))
    caller = Caller(lambda region: way, way, Retrying())
    assert route.credentials is not None
    assert route.credentials().secret_key == "hunter2"
    for one in (held, route, route.credentials, route.credentials(), way, way.signer, way.pool, caller):
        assert "hunter" not in f"{one!r} {one!s}"
    way.pool.close()


def test_this_process_has_loaded_botocore_and_so_no_route_is_plain() -> None:
    assert isinstance(boto_route(LOCAL, "box"), Route)
    assert plain_route(LOCAL, "box", {}) is None
