"""Clients of AWS's SDK that are made before the function asks for them: it gets them only where they are what it would
have got otherwise."""

import json
import time

import pytest

import mayfly as m
from test_sdk import RUNTIMES, Place

PYTHONS = [runtime for runtime in RUNTIMES if runtime != "python2.7"]


@pytest.fixture(scope="module")
def place():
    with m.temporary_folder() as folder:
        place = Place(folder)
        place.server.client("s3").create_bucket(Bucket="ahead")
        yield place
        assert place.server.stop() == 0


# Each scenario runs in a fork of its own, where no client was asked for yet. A client was there ahead if the SDK's own
# code for making one did not run.
SCENARIOS = """
import json, logging, os, sys, threading
import boto3, botocore.client, botocore.handlers, botocore.hooks, botocore.session

MAKES = botocore.client.ClientCreator.create_client.__code__
SCENARIOS = {}

def scenario(function):
    SCENARIOS[function.__name__] = function

def made(call):
    ran = []
    def note(frame, event, _):
        if event == "call" and frame.f_code is MAKES:
            ran.append(frame)
    sys.setprofile(note)
    try:
        found = call()
    finally:
        sys.setprofile(None)
    return found, not ran

def s3():
    return made(lambda: boto3.client("s3"))

def dynamodb():
    return made(lambda: boto3.client("dynamodb"))

def keys(client):
    return client._request_signer._credentials

def look(client):
    def count(node):
        return sum(map(len, node["values"] or ())) + sum(map(count, node["children"].values()))
    events = client.meta.events._emitter
    return [
        dir(client), sorted(vars(client)), sorted(client.meta.method_to_api_mapping.items()), client.meta.endpoint_url,
        client.meta.region_name, client.meta.partition, sorted(vars(client.meta.config)["_user_provided_options"].items()),
        sorted(map(str, vars(client.meta.config).items())), str(client.waiter_names), count(events._handlers._root),
        sorted(events._unique_id_handlers), client._client_config.user_agent, str(type(client)), type(client).__mro__[1:] != (),
    ]

@scenario
def like_another():
    threads = threading.active_count(), len(os.listdir("/proc/self/task"))
    (one, ahead), (two, again), (_, third) = s3(), s3(), s3()
    session = boto3.DEFAULT_SESSION
    one.put_object(Bucket="ahead", Key="one", Body=b"1")
    found = keys(one)
    return {
        "ahead": [ahead, again, third], "same": one is two, "threads": threads,
        "stored": two.get_object(Bucket="ahead", Key="one")["Body"].read().decode(),
        "whose": boto3.client("sts").get_caller_identity()["Arn"],
        "credentials": keys(two) is found is session.get_credentials() and type(found).__name__ + found.method,
        "keys": [found.access_key, found.secret_key, found.token] == [os.environ["AWS_" + name] for name in
            ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN")],
        "exceptions": one.exceptions.NoSuchKey is two.exceptions.NoSuchKey,
        "services": "s3" in session.get_available_services(),
    }

@scenario
def alike():
    (one, first), (two, second) = s3(), dynamodb()
    found, third = made(lambda: boto3.resource("dynamodb"))
    return {"ahead": [first, second, third], "look": list(map(look, [one, two, found.meta.client])), "table": str(found.Table("a"))}

@scenario
def other_order():
    (one, first), (two, second) = dynamodb(), s3()
    return {"ahead": [first, second], "look": [look(two), look(one)]}

@scenario
def own_session():
    own = boto3.session.Session()
    found, ahead = made(lambda: own.client("s3", region_name=os.environ["AWS_REGION"]))
    _, other = s3()
    return {"ahead": [ahead, other], "session": keys(found) is own.get_credentials(), "default": boto3.DEFAULT_SESSION is not own}

@scenario
def other_arguments():
    found, ahead = made(lambda: boto3.client("s3", region_name="eu-central-1", use_ssl=False))
    return {"ahead": ahead, "region": found.meta.region_name}

@scenario
def configured():
    config = botocore.client.Config(retries={"total_max_attempts": 7})
    found, ahead = made(lambda: boto3.client("s3", config=config))
    return {"ahead": ahead, "attempts": found.meta.config.retries["total_max_attempts"]}

@scenario
def other_session():
    boto3.setup_default_session(region_name="eu-central-1")
    found, ahead = s3()
    return {"ahead": ahead, "region": found.meta.region_name}

@scenario
def session_of_botocore():
    found, ahead = made(lambda: botocore.session.get_session().create_client("s3"))
    return {"ahead": ahead}

def changed(name, value):
    before = os.environ[name]
    os.environ[name] = value
    found, ahead = s3()
    return {"ahead": ahead, "seen": [found.meta.endpoint_url, found.meta.region_name, keys(found).access_key]}

@scenario
def endpoint():
    return changed("AWS_ENDPOINT_URL", "http://127.0.0.1:1")

@scenario
def region():
    return changed("AWS_DEFAULT_REGION", "eu-central-1")

@scenario
def access_key():
    return changed("AWS_ACCESS_KEY_ID", "MINE")

@scenario
def config_file():
    os.makedirs("/tmp/.aws")
    with open("/tmp/.aws/config", "w") as file:
        file.write("[default]\\nmax_attempts = 9\\n")
    found, ahead = s3()
    return {"ahead": ahead, "attempts": found.meta.config.retries}

@scenario
def config_file_between():
    boto3.client("s3")
    os.makedirs("/tmp/.aws")
    with open("/tmp/.aws/config", "w") as file:
        file.write("[default]\\nmax_attempts = 9\\n")
    found, ahead = dynamodb()
    return {"ahead": ahead}

def mine(self, client):
    client.mine = 1

@scenario
def patched():
    botocore.client.ClientCreator._register_retries = mine
    found, ahead = s3()
    return {"ahead": ahead, "mine": hasattr(found, "mine")}

@scenario
def patched_between():
    _, first = s3()
    botocore.client.ClientCreator._register_retries = mine
    found, ahead = dynamodb()
    return {"ahead": [first, ahead], "mine": hasattr(found, "mine")}

class Lies(object):
    # As the proxies of the package wrapt are equal to what they wrap.
    def __init__(self, wrapped):
        self.wrapped, self.calls = wrapped, []
    def __eq__(self, other):
        return self.wrapped == other
    def __hash__(self):
        return hash(self.wrapped)
    def __call__(self, *arguments, **named):
        self.calls.append(1)
        return self.wrapped(*arguments, **named)

@scenario
def wrapped():
    lies = botocore.client.ServiceModel = Lies(botocore.client.ServiceModel)
    _, ahead = s3()
    return {"ahead": ahead, "called": bool(lies.calls)}

@scenario
def code_replaced():
    botocore.client.ClientCreator._register_retries.__code__ = mine.__code__
    found, ahead = s3()
    return {"ahead": ahead, "mine": hasattr(found, "mine")}

@scenario
def standard_library():
    threading.Lock, lock = (lambda: lock()), threading.Lock
    _, ahead = s3()
    return {"ahead": ahead}

@scenario
def module_replaced():
    sys.modules["botocore.handlers"] = type(sys)("botocore.handlers")
    _, ahead = s3()
    return {"ahead": ahead}

@scenario
def builtin_handlers():
    called = []
    botocore.handlers.BUILTIN_HANDLERS.append(("creating-client-class", lambda **_: called.append(1)))
    _, ahead = s3()
    return {"ahead": ahead, "called": bool(called)}

def add(class_attributes, **_):
    class_attributes["mine"] = 1

@scenario
def event_of_session():
    (one, first) = s3()
    boto3.DEFAULT_SESSION.events.register("creating-client-class.dynamodb", add)
    two, ahead = dynamodb()
    return {"ahead": [first, ahead], "mine": [hasattr(one, "mine"), hasattr(two, "mine")]}

@scenario
def event_before_all():
    boto3.setup_default_session()
    boto3.DEFAULT_SESSION.events.register("creating-client-class.s3", add)
    one, ahead = s3()
    return {"ahead": ahead, "mine": hasattr(one, "mine")}

@scenario
def session_set():
    boto3.setup_default_session()
    boto3.DEFAULT_SESSION._session.set_default_client_config(botocore.client.Config(region_name="eu-central-1"))
    one, ahead = s3()
    return {"ahead": ahead, "region": one.meta.region_name}

@scenario
def credentials_set():
    boto3.setup_default_session()
    boto3.DEFAULT_SESSION._session.set_credentials("mine", "mine")
    one, ahead = s3()
    return {"ahead": ahead, "key": keys(one).access_key}

@scenario
def component():
    boto3.setup_default_session()
    loader = botocore.session.get_session().get_component("data_loader")
    boto3.DEFAULT_SESSION._session.register_component("data_loader", loader)
    one, ahead = s3()
    return {"ahead": ahead, "loader": one._loader is loader}

@scenario
def search_paths():
    boto3.setup_default_session()
    boto3.DEFAULT_SESSION._loader.search_paths.insert(0, "/tmp/models")
    return {"ahead": s3()[1]}

@scenario
def debug():
    heard = hear(logging.DEBUG)
    _, ahead = s3()
    return {"ahead": ahead, "lines": len(heard) > 0}

def hear(level):
    class Hears(logging.Handler):
        def emit(self, record):
            heard.append([record.name, record.levelname, record.getMessage(), record.funcName, record.lineno])
    heard = []
    logging.getLogger().addHandler(Hears())
    logging.getLogger().setLevel(level)
    return heard

@scenario
def informed():
    heard = hear(logging.INFO)
    return {"ahead": [s3()[1], dynamodb()[1]], "lines": heard, "found": [line[2] for line in heard if "credentials" in line[2]]}

def otherwise(name):
    def changes():
        os.environ["MINE"] = "1"
        return SCENARIOS[name]()
    return changes

for name in "alike", "other_order", "informed":
    SCENARIOS[name + "_otherwise"] = otherwise(name)

def in_fork(function):
    readable, writable = os.pipe()
    if os.fork() == 0:
        try:
            said = json.dumps(function())
        except BaseException as error:
            said = json.dumps({"failed": repr(error)})
        os.write(writable, said.encode())
        os._exit(0)
    os.close(writable)
    with open(readable) as file:
        said = file.read()
    os.wait()
    os.system("rm -rf /tmp/.aws")
    return json.loads(said)

def lambda_handler(event, context):
    if event["ahead"] != in_fork(lambda: s3()[1]):
        return None
    return {name: in_fork(SCENARIOS[name]) for name in SCENARIOS}
"""


def cold(place, function, event, what):
    """The answer of an environment that begins now; again until there is one, since slots are not furnished at once."""

    def says():
        reply = function.call(event)
        assert "FunctionError" not in reply, (reply["payload"], reply["log"])
        if not reply["payload"]:
            # What waits for the next one is made while `until` pauses.
            place.client.update_function_configuration(FunctionName=function.name, Description=m.name())
            place.client.get_waiter("function_updated_v2").wait(FunctionName=function.name)
        return reply["payload"]

    return m.until(says, what)


NOT_AHEAD = (
    "other_arguments configured other_session session_of_botocore endpoint region access_key config_file config_file_between "
    "patched wrapped code_replaced standard_library module_replaced builtin_handlers event_before_all session_set "
    "credentials_set component search_paths debug"
).split()


@pytest.mark.parametrize("runtime", PYTHONS)
def test_clients_made_ahead_are_handed_out_only_where_nothing_changed(place, runtime):
    if runtime in place.missing:
        pytest.skip(place.missing[runtime])
    allow(place)
    function = place.function(runtime, SCENARIOS, Environment={"Variables": {"HOME": "/tmp"}})
    # With a processor of its own.
    place.client.update_function_configuration(FunctionName=function.name, MemorySize=2048)
    place.client.get_waiter("function_updated_v2").wait(FunctionName=function.name)
    said = cold(place, function, {"ahead": True}, "an interpreter that waited with clients")
    failed = {name: found["failed"] for name, found in said.items() if "failed" in found}
    assert not failed
    alike = said["like_another"]
    assert alike == {
        "ahead": [True, False, False], "same": False, "threads": [1, 1], "stored": "1",
        "whose": f"arn:aws:sts::123456789012:assumed-role/basic/{function.name}", "credentials": "Credentialsenv",
        "keys": True, "exceptions": True, "services": True,
    }  # fmt: skip
    ahead, ordinary = (said[name].pop("ahead") for name in ("alike", "alike_otherwise"))
    assert (ahead, ordinary) == ([True] * 3, [False] * 3)
    assert said["alike"] == said["alike_otherwise"]
    assert said["other_order"] == said["other_order_otherwise"] and said["other_order"]["ahead"] == [False, False]
    assert said["own_session"] == {"ahead": [True, False], "session": True, "default": True}
    assert {name: said[name]["ahead"] for name in NOT_AHEAD} == dict.fromkeys(NOT_AHEAD, False)
    assert said["patched_between"] == {"ahead": [True, False], "mine": True}
    assert said["event_of_session"] == {"ahead": [True, False], "mine": [False, True]}
    # What changed is seen.
    for name in "patched", "code_replaced", "event_before_all":
        assert said[name]["mine"], name
    for name in "wrapped", "builtin_handlers":
        assert said[name]["called"], name
    for name in "other_arguments", "other_session", "session_set":
        assert said[name]["region"] == "eu-central-1", name
    if runtime != "python3.6":
        # That SDK does not know the variable.
        assert said["endpoint"]["seen"][0] == "http://127.0.0.1:1"
    assert said["region"]["seen"][1] == "eu-central-1" and said["access_key"]["seen"][2] == "MINE"
    assert said["configured"]["attempts"] == 7 and "9" in str(said["config_file"]["attempts"])
    assert said["credentials_set"]["key"] == "mine" and said["component"]["loader"] and said["debug"]["lines"]
    # What a function is told when it wants to hear more, it is told.
    assert said["informed"]["ahead"] == [True, True] and said["informed_otherwise"]["ahead"] == [False, False]
    assert said["informed"]["lines"] == said["informed_otherwise"]["lines"]
    assert said["informed"]["found"] == ["Found credentials in environment variables."]


AT_IMPORT = """
import botocore.client, json, sys
MADE = []

def note(frame, event, _):
    if event == "call" and frame.f_code is botocore.client.ClientCreator.create_client.__code__:
        MADE.append(1)

sys.setprofile(note)
import boto3
s3 = boto3.client("s3")
table = boto3.resource("dynamodb").Table("things")
again = boto3.client("s3")
sys.setprofile(None)

def lambda_handler(event, context):
    if MADE:
        return None
    s3.put_object(Bucket="ahead", Key=context.aws_request_id, Body=b"put")
    return [again is not s3, context.aws_request_id, sorted(name for name in sys.modules if "mayfly" in name)]
"""


def test_a_function_uses_clients_that_were_made_before_it_was_loaded(place):
    if m.PYTHON in place.missing:
        pytest.skip(place.missing[m.PYTHON])
    allow(place)
    function = place.function(m.PYTHON, AT_IMPORT)
    two, key, ours = cold(place, function, {}, "an interpreter that waited with clients")
    s3 = place.server.client("s3")
    assert s3.get_object(Bucket="ahead", Key=key)["Body"].read() == b"put"
    assert two and ours == []


MILD = """
import json
import os, logging
import boto3

logger = logging.getLogger(__name__)
logger.setLevel(logging.INFO)
NAME = os.environ.get("NAME", "no")
s3 = boto3.client("s3", region_name=os.environ["AWS_REGION"])
table = boto3.resource("dynamodb").Table(f"{NAME}ne")

def lambda_handler(event, context):
    return [hasattr(s3, "mine"), hasattr(table.meta.client, "mine"), s3.meta.region_name, table.name]
"""
# Run before, in one way or another, they would be noticed in no client that is there already.
PATCH = """
import botocore.client

def register(self, client):
    client.mine = 1

botocore.client.ClientCreator._register_retries = register
"""
# The SDK's function is only looked at, and what is called is another.
GIVEN = """
import boto3

def traced(make):
    import patch

traced(boto3.client)
"""
PLACES = {
    "nowhere": ("lambda_function", {"lambda_function.py": MILD}),
    "the module": ("lambda_function", {"lambda_function.py": PATCH + MILD}),
    "another module": ("lambda_function", {"lambda_function.py": "import other\n" + MILD, "other.py": PATCH}),
    "a function": ("lambda_function", {"lambda_function.py": GIVEN + MILD, "patch.py": PATCH}),
    "the package": ("package.app", {"package/__init__.py": PATCH, "package/app.py": MILD}),
}


@pytest.mark.parametrize("runtime", PYTHONS)
@pytest.mark.parametrize("patched", PLACES)
def test_a_beginning_that_changes_nothing_spares_the_look_at_the_sdk(place, runtime, patched):
    if runtime in place.missing:
        pytest.skip(place.missing[runtime])
    module, files = PLACES[patched]
    function = place.function(runtime, "", files)
    for _ in range(3):
        place.client.update_function_configuration(
            FunctionName=function.name, Handler=module + ".lambda_handler", Description=m.name()
        )
        place.client.get_waiter("function_updated_v2").wait(FunctionName=function.name)
        # Slots are furnished when nothing else is to be done.
        time.sleep(0.3)
        reply = function.call({})
        assert reply["payload"] == [patched != "nowhere"] * 2 + [place.client.meta.region_name, "none"]


def allow(place):
    policy = {
        "Version": "2012-10-17",
        "Statement": {
            "Effect": "Allow",
            "Principal": {"AWS": place.role},
            "Action": ["s3:PutObject", "s3:GetObject"],
            "Resource": "arn:aws:s3:::ahead/*",
        },
    }
    place.server.client("s3").put_bucket_policy(Bucket="ahead", Policy=json.dumps(policy))
