"""Compares Mayfly's operations with Amazon's service models, which ship inside botocore, and writes docs/coverage.md.

Every difference has one line, such as `lambda CreateFunction input.VpcConfig: missing`. The deliberate ones are in
differences.py, each with its reason; all others fail the test, and so does a reason that is no longer needed.
"""

import fnmatch
import json
import os
import pathlib
import sys

import botocore.loaders
import botocore.model

from differences import DIFFERENCES

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "coverage.md"

KINDS = {
    "string": {"string", "enum"},
    "character": {"string"},
    "integer": {"integer"},
    "long": {"integer"},
    "double": {"float"},
    "float": {"float"},
    "boolean": {"boolean"},
    "timestamp": {"timestamp"},
    "blob": {"blob", "any"},
    "list": {"list"},
    "map": {"map"},
    "structure": {"structure"},
}

PROTOCOLS = {
    "json": {"Json10", "Json11"},
    "rest-json": {"RestJson"},
    "query": {"Query"},
    "smithy-rpc-v2-cbor": {"Cbor"},
}


def our_services():
    """What `cargo run -p xtask -- operations` printed."""
    return json.loads(pathlib.Path(os.environ["OPERATIONS"]).read_text())


def model(service):
    description = botocore.loaders.Loader().load_service_model(service["model"], "service-2")
    return botocore.model.ServiceModel(description, service["model"])


def differences(service):
    """Yields one line for everything in which `service` is not as the model says."""
    theirs = model(service)
    name = service["service"]
    foreign = "shapesOf" in service
    if not foreign:
        yield from (f"{name}: {line}" for line in metadata(service, theirs.metadata))
    built = {o["name"]: o for o in service["operations"]}
    unbuilt = {o["name"]: o for o in service["unbuilt"]}
    known = set(theirs.operation_names)
    for operation in sorted(built.keys() & unbuilt.keys()):
        yield f"{name} {operation}: both built and unbuilt"
    for operation in sorted((built.keys() | unbuilt.keys()) - known):
        yield f"{name} {operation}: not in the model"
    for operation in sorted(known - built.keys() - unbuilt.keys()):
        yield f"{name} {operation}: neither built nor listed as unbuilt"
    if foreign:
        for operation in sorted(known & built.keys()):
            lines = compare_inputs(built[operation], service["headers"], theirs.operation_model(operation))
            yield from (f"{name} {operation} {line}" for line in lines)
        return
    rest = theirs.metadata["protocol"] == "rest-json"
    for operation in sorted(known & built.keys()):
        lines = compare_operation(built[operation], theirs.operation_model(operation), rest)
        yield from (f"{name} {operation} {line}" for line in lines)
    for operation in sorted(known & unbuilt.keys()) if rest else ():
        yield from (
            f"{name} {operation} {line}" for line in address(unbuilt[operation], theirs.operation_model(operation))
        )


def compare_inputs(ours, headers, theirs):
    """Parameters and headers of an operation whose shapes are not ours: those that are refused by name."""
    for member, shape in theirs.input_shape.members.items() if theirs.input_shape else ():
        where, name = shape.serialization.get("location"), shape.serialization.get("name", member)
        if where == "querystring" and name not in ours["query"]:
            yield f"input.{member}: refused"
        if where == "header" and name.lower().startswith("x-amz-") and name.lower() not in headers:
            yield f"input.{member}: refused"


def metadata(service, theirs):
    if service["apiVersion"] and service["apiVersion"] != theirs["apiVersion"]:
        yield f"API version {service['apiVersion']}, the model has {theirs['apiVersion']}"
    if service["targetPrefix"] != theirs.get("targetPrefix", ""):
        yield f"target prefix {service['targetPrefix']!r}, the model has {theirs.get('targetPrefix', '')!r}"
    if theirs.get("signingName", theirs["endpointPrefix"]) not in service["signingNames"]:
        yield f"does not know the signing name {theirs.get('signingName', theirs['endpointPrefix'])}"
    for protocol in theirs.get("protocols", [theirs["protocol"]]):
        if not PROTOCOLS.get(protocol, set()) & set(service["protocols"]):
            yield f"does not speak {protocol}"


def address(ours, theirs):
    wanted = theirs.http["requestUri"]
    if ours["method"] != theirs.http["method"]:
        yield f"method: {ours['method']}, the model has {theirs.http['method']}"
    if ours["path"].rstrip("/") != wanted.rstrip("/"):
        yield f"path: {ours['path']}, the model has {wanted}"


def compare_operation(ours, theirs, rest):
    if rest:
        yield from address(ours, theirs)
        yield from bindings(ours, theirs)
    yield from compare_shape("input", ours["input"], theirs.input_shape, request=True)
    yield from compare_shape("output", ours["output"], theirs.output_shape, request=False)


def bindings(ours, theirs):
    """Where members travel in a restJson request and reply."""
    status = theirs.http.get("responseCode", 200)
    if ours["status"] != status and not ours["replyStatus"]:
        yield f"status: {ours['status']}, the model has {status}"
    pairs = [
        ("query", ours["query"], located(theirs.input_shape, "querystring", "querystrings")),
        ("header", ours["headers"], located(theirs.input_shape, "header", "headers", lower=True)),
        ("reply header", lower(ours["replyHeaders"]), located(theirs.output_shape, "header", "headers", lower=True)),
    ]
    for what, found, wanted in pairs:
        for key in sorted(found.keys() | wanted.keys()):
            if found.get(key) != wanted.get(key):
                yield f"{what} {key}: {found.get(key)}, the model has {wanted.get(key)}"
    for what, found, shape in [
        ("payload", ours["payload"], theirs.input_shape),
        ("reply payload", ours["replyPayload"], theirs.output_shape),
    ]:
        wanted = shape.serialization.get("payload") if shape else None
        if (found or None) != wanted:
            yield f"{what}: {found}, the model has {wanted}"


def lower(headers):
    return {name.lower(): member for name, member in headers.items()}


def located(shape, *locations, lower=False):
    found = {}
    for member, target in shape.members.items() if shape else ():
        if target.serialization.get("location") in locations:
            name = target.serialization.get("name", member)
            found[name.lower() if lower else name] = member
    return found


def compare_shape(path, ours, theirs, request, above=()):
    """Yields in what one shape differs, member by member. `above` holds the structures it is within, for those that
    hold themselves."""
    kind = ours["kind"]
    if theirs is None:
        if kind != "structure" or ours["members"]:
            yield f"{path}: has members, the model has none"
        return
    special = theirs.is_document_type if theirs.type_name == "structure" else False
    streamed = theirs.type_name == "structure" and theirs.serialization.get("eventstream")
    if special or streamed:
        if kind != "any":
            yield f"{path}: {kind}, the model has a document or a stream"
    elif kind not in KINDS[theirs.type_name]:
        yield f"{path}: {kind}, the model has {theirs.type_name}"
    elif kind == "structure" and theirs.name not in above:
        yield from compare_members(path, ours, theirs, request, above + (theirs.name,))
    elif kind == "list":
        yield from compare_shape(f"{path}[]", ours["of"], theirs.member, request, above)
    elif kind == "map":
        yield from compare_shape(f"{path}{{}}", ours["of"], theirs.value, request, above)
    elif theirs.type_name == "string":
        yield from compare_values(path, ours, getattr(theirs, "enum", []), request)


def compare_values(path, ours, wanted, request):
    """The values of an enum. Requests take exactly AWS's; replies hold no others."""
    values = set(ours.get("values", []))
    if request and set(wanted) - values:
        missing = ", ".join(sorted(set(wanted) - values)) if values else "any text"
        yield f"{path}: does not {'take' if values else 'check'} the enum's values: {missing}"
    if values - set(wanted):
        yield f"{path}: values that the model lacks: {', '.join(sorted(values - set(wanted)))}"


def compare_members(path, ours, theirs, request, above):
    members = {m["name"]: m for m in ours["members"]}
    for name in sorted(theirs.members.keys() - members.keys()):
        yield f"{path}.{name}: missing"
    for name in sorted(members.keys() - theirs.members.keys()):
        yield f"{path}.{name}: not in the model"
    for name in sorted(members.keys() & theirs.members.keys()):
        if request and members[name]["required"] != (name in theirs.required_members):
            yield f"{path}.{name}: {'required' if members[name]['required'] else 'not required'}, the model says otherwise"
        yield from compare_shape(f"{path}.{name}", members[name]["schema"], theirs.members[name], request, above)


def reason(line):
    """Why a difference is deliberate, if it is: its pattern and the reason."""
    for pattern, why in DIFFERENCES.items():
        # Square brackets mean a list here, not fnmatch's set.
        if fnmatch.fnmatchcase(line, pattern.replace("[", "[[]")):
            return pattern, why
    return None


def judge(services):
    """The lines that nobody excused, and the excuses that nothing needed."""
    lines = [line for service in services for line in differences(service)]
    unexcused = [line for line in lines if reason(line) is None]
    used = {excuse[0] for line in lines if (excuse := reason(line))}
    return unexcused, sorted(DIFFERENCES.keys() - used)


def page(services):
    """docs/coverage.md."""
    out = [
        "# Coverage",
        "",
        "Every operation of the services that Mayfly answers, compared with the models inside the pinned botocore.",
        "`make coverage` writes this page; a test fails when it is stale. An operation that is not built answers 501 with",
        "its name. A member that is missing from a built operation is listed, with the reason.",
        "",
        "| service | built | of |",
        "|---|---|---|",
    ]
    for service in services:
        total = len(service["operations"]) + len(service["unbuilt"])
        out.append(f"| [{service['service']}](#{service['service']}) | {len(service['operations'])} | {total} |")
    for service in services:
        out += ["", f"## {service['service']}", ""]
        out.append("Built: " + listing(service["operations"]) + ".")
        out += ["", "Not built: " + listing(service["unbuilt"]) + "."]
        excused = {}
        for line in differences(service):
            if found := reason(line):
                excused.setdefault(found[1], []).append(line.removeprefix(service["service"]).strip())
        for why, lines in excused.items():
            out += ["", f"Different: {why}", ""]
            out += [f"- `{line}`" for line in lines]
    return "\n".join(out) + "\n"


def listing(operations):
    return ", ".join(sorted(o["name"] for o in operations)) or "none"


if __name__ == "__main__":
    text = page(our_services())
    if "--write" in sys.argv:
        PAGE.write_text(text)
    else:
        print(text)
