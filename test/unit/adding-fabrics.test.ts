/** What is touched to add a fabric: its folder, and a line of the registry. A further place of `src/` or `bench/` that names one fails here. */
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fabrics } from "../../src/fabric/registry.ts";

const ROOT = join(import.meta.dir, "..", "..");
const HOME = join("src", "fabric");
const REGISTRY = join(HOME, "registry.ts");

/** A provider of libfabric, as that calls it. */
const PROVIDER = /^ *\{ name: "(?:verbs|tcp|shm)"/m;

/** An address of a control connection: a port, or a path. */
const ADDRESS = /kind(?:: | === | !== )"tcp"/;
/** Where the kernel tells of sockets. */
const PROC = /"\/proc\/net\/tcp"/;

/** What users see: an example of the manual, and the type of an options object. `/dev/shm` is a place of the system's. */
const ALLOWED: Readonly<Record<string, readonly RegExp[]>> = {
  "src/commands/serve.ts": [/"rfaas serve [^"]*--fabric verbs"/],
  "src/commands/serving/how-to-reach.ts": [ADDRESS],
  "src/commands/manager.ts": [/tcpAddress/],
  "src/client/invoker.ts": [ADDRESS],
  "src/client/options/connect-options.ts": [/tcpAddress/],
  "src/options/fields.ts": [/tcpAddress/],
  "src/commands/cluster/manager-trust.ts": [ADDRESS],
  "src/control/identity/ends.ts": [ADDRESS],
  "src/control/address.ts": [ADDRESS, /TcpAddress/],
  "src/control/dial.ts": [ADDRESS, /dialTcp/, /TcpAddress/],
  "src/control/dial-tls.ts": [/TcpAddress/],
  "src/control/local-peer.ts": [/TcpEnd/],
  "src/control/port-holder.ts": [PROC],
  "src/fabric/ofi/connection-errors.ts": [/"ofi:shm reaches no other machine/],
  "src/fabric/ofi/providers.ts": [PROVIDER],
  "src/fabric/verbs/perftest.ts": [PROC],
  "bench/handshake.ts": [/"shm"/, /"tcp"/, /"tcp, TLS"/, /bothMs\(shm/, /above shm/],
  "bench/libfabric/libfabric.ts": [/--provider shm/, /default: "shm"/, /as "ofi:shm"/],
  "bench/manager-load/manager-load.ts": [/"TcpExt:"/],
  "bench/manager-load/roles.ts": [ADDRESS],
  "bench/peers/peers.ts": [/openRfaas\("(?:shm|tcp)"/],
  "bench/peers/rfaas.ts": [/floorOf\("tcp"/],
  "src/manager/server.ts": [ADDRESS],
  "src/manager/http/server.ts": [ADDRESS],
  "src/executor/admission/data-port.ts": [/listenTcp/],
  "src/executor/admission/listen.ts": [ADDRESS, /\btcp (?:\?|&&)/, /if \(tcp\)/, /listenTcp/],
  "src/index.ts": [
    /export type \{ OfiOptions \} from "\.\/fabric\/ofi\/options\.ts"/,
    /export type \{ VerbsOptions \} from "\.\/fabric\/verbs\/options\.ts"/,
  ],
  "src/doctor/machine.ts": [/"\/dev\/shm"/],
  "src/executor/sandbox/apptainer/driver.ts": [/"\/dev\/shm"/],
  "src/executor/sandbox/docker/driver.ts": [/"\/dev\/shm"/],
  "src/executor/sandbox/podman/driver.ts": [/"\/dev\/shm"/],
  "src/executor/sandbox/sarus/driver.ts": [/"\/dev\/shm"/],
};

const sources = ["src", "bench"].flatMap((folder) =>
  [...new Bun.Glob(`${folder}/**/*.ts`).scanSync(ROOT)].map(
    (path) => [path, readFileSync(join(ROOT, path), "utf8")] as const,
  ),
);

/** As a word, or as a part of a name such as `attachVerbs`, `verbsFlags` or `VerbsOptions`. */
function mention(name: string): RegExp {
  const capital = name[0]!.toUpperCase() + name.slice(1);
  return new RegExp(`\\b${name}\\b|\\b${name}[A-Z]|${capital}(?![a-z])`);
}

/** Several fabrics may share a folder, which has the name of their family. */
const names = [...new Set(fabrics.map(({ name, family = name }) => family))];

describe.each(names)("the fabric %s", (name) => {
  const folder = join(HOME, name);
  const outside = sources.filter(([path]) => path !== REGISTRY && !path.startsWith(`${folder}/`));
  const placesOf = (pattern: RegExp): string[] =>
    outside.flatMap(([path, source]) =>
      source
        .split("\n")
        .filter((line) => pattern.test(line))
        .filter((line) => !ALLOWED[path]?.some((allowed) => allowed.test(line)))
        .map((line) => `${path}: ${line.trim()}`),
    );

  test("has a folder with a file of its name's own", () => {
    expect(existsSync(join(ROOT, folder, "fabric.ts"))).toBe(true);
  });

  test("is named nowhere else", () => {
    expect(placesOf(mention(name))).toEqual([]);
  });

  test("is imported by the registry alone", () => {
    expect(placesOf(new RegExp(`["/]${name}/[\\w-]+\\.ts"`))).toEqual([]);
  });
});

test("every folder of fabrics is in the registry", () => {
  const folders = readdirSync(join(ROOT, HOME), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name);
  expect(folders.toSorted()).toEqual(names.toSorted());
});

test("what is allowed is still there", () => {
  const unused = Object.entries(ALLOWED).flatMap(([path, patterns]) => {
    const source = readFileSync(join(ROOT, path), "utf8");
    return patterns.filter((pattern) => !pattern.test(source)).map(String);
  });
  expect(unused).toEqual([]);
});

test("the search finds a name in all the ways in which code has one", () => {
  const found = [
    '"verbs"',
    "attachVerbs(",
    "verbsFlags",
    "VerbsOptions",
    "./verbs/link.ts",
    "// verbs",
  ];
  expect(found.filter((line) => !mention("verbs").test(line))).toEqual([]);
  const others = ["adverbs", "VERBS", "one verb of the network card", "shmem_enabled"];
  expect(others.filter((line) => mention("verbs").test(line) || mention("shm").test(line))).toEqual(
    [],
  );
});
