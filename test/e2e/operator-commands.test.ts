/** `rfaas token`, `rfaas bill` and `rfaas node` as people type them, against a ledger and a manager's HTTP interface. */
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { NodeLedger } from "../../src/manager/ledger/node-ledger.ts";
import { type HttpServer, startHttp } from "../../src/manager/http/server.ts";
import { SignedTokens, TokenKeys } from "../../src/manager/tokens/keys.ts";
import { Ledger } from "../../src/manager/ledger/ledger.ts";
import { Registry } from "../../src/manager/nodes/registry.ts";
import { ledgerPath } from "../../src/manager/state/state.ts";
import type { UsageReport } from "../../src/protocol/manager-messages.ts";
import { Credential } from "../../src/protocol/holder/credential.ts";
import { readPublicKey } from "../../src/protocol/token-key.ts";
import { TokenVerifier } from "../../src/protocol/token.ts";
import { ROOT } from "../support/executable.ts";
import { RunningManager } from "../support/manager.ts";
import { Scratch } from "../support/scratch.ts";
import { NO_LIMITS, NONE_ISSUED } from "../support/tokens.ts";

interface Ended {
  exitCode: number;
  stdout: string;
  stderr: string;
}

/** The command line from its sources, in an environment that names nothing of the machine's own. */
async function rfaas(args: readonly string[], env: Record<string, string> = {}): Promise<Ended> {
  const child = Bun.spawn([process.execPath, join(ROOT, "src", "main.ts"), ...args], {
    cwd: "/",
    env: { PATH: process.env["PATH"], HOME: "/nonexistent", ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { exitCode: await child.exited, stdout, stderr };
}

function report(lease: string, user: string, startedAtMs: number, executionNs = 5e8): UsageReport {
  return {
    ...{ lease, node: "n1", user, workers: 1, startedAtMs, endedAtMs: null, reason: null },
    usage: { allocationCoreNs: 1e9, executionNs, pollingNs: 0, calls: 1e6, bytes: 2 ** 30 },
  };
}

const TOLD: NodeLedger = { ledger: "messages", ledgerAdds: 0, usageMessages: 0 };

/** A state directory with a key and a ledger, and its HTTP interface. */
class Cluster implements AsyncDisposable {
  readonly #scratch = new Scratch();
  readonly state = this.#scratch.join("state");
  readonly keys = TokenKeys.open(this.state);
  readonly ledger = Ledger.open(ledgerPath(this.state));
  readonly registry = new Registry();
  readonly drains: number[] = [];
  readonly #starting = startHttp({
    listen: "127.0.0.1:0",
    registry: this.registry,
    ledger: this.ledger,
    tokens: new SignedTokens(this.keys.publicKey),
    issued: NONE_ISSUED,
    limits: NO_LIMITS,
    server: {
      drain: (name, deadlineMs) => {
        this.drains.push(deadlineMs);
        return this.registry.drain(name, deadlineMs, 0);
      },
      resume: (name) => this.registry.resume(name),
      remove: (name) => this.registry.remove(name),
      readmit: (text) => this.registry.readmit(text),
      leases: () => [],
      ledgerOf: () => TOLD,
    },
    log: () => {},
  });
  #http!: HttpServer;

  static async start(): Promise<Cluster> {
    const cluster = new Cluster();
    cluster.#http = await cluster.#starting;
    return cluster;
  }

  get url(): string {
    return this.#http.url;
  }

  async token(scope: string): Promise<string> {
    const args = ["token", "create", "--user", "ada", "--scope", scope, "--state", this.state];
    return (await rfaas(args)).stdout.trim();
  }

  file(name: string, text: string): string {
    return this.#scratch.file(name, text);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#http.stop();
    this.ledger.close();
    this.#scratch[Symbol.dispose]();
  }
}

describe("rfaas token", () => {
  test("create prints the token and nothing else, and makes a key on first use", async () => {
    using scratch = new Scratch();
    const env = { XDG_STATE_HOME: scratch.path };
    const args = ["token", "create", "--user", "ada", "--max-cores", "64", "--ttl", "2h"];
    args.push("--max-memory", "64GiB", "--project", "climate");
    const first = await rfaas(args, env);
    expect([first.exitCode, first.stderr]).toEqual([0, expect.stringContaining("a new key")]);
    expect(first.stdout).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+\.[\w-]{43}\n$/);
    const { token, isBound } = Credential.read(first.stdout.trim());
    expect(isBound).toBe(true);
    const key = readFileSync(scratch.join("rfaas/token-key.pub"), "utf8");
    const tokens = new TokenVerifier(readPublicKey(key, "the key"));
    const claims = await tokens.verify(token, Date.now(), "client");
    expect(claims).toMatchObject({
      user: "ada",
      maxMemoryBytes: 2 ** 36,
      maxCores: 64,
      project: "climate",
      scopes: ["client", "read"],
    });
    // In whole seconds, and no shorter than was asked for.
    expect([7_200_000, 7_201_000]).toContain(claims.expiresAtMs! - claims.issuedAtMs);

    const bearer = ["token", "create", "--user", "ada", "--ttl", "never", "--bearer"];
    const second = await rfaas(bearer, env);
    expect([second.exitCode, second.stderr]).toEqual([0, ""]);
    const free = await tokens.verify(second.stdout.trim(), Date.now());
    expect(free).toMatchObject({ maxCores: null, expiresAtMs: null });
    expect(free.id).not.toBe(claims.id);
    expect([claims, free].map(({ holderKey }) => holderKey !== undefined)).toEqual([true, false]);
  });

  test("show prints what a token says", async () => {
    using scratch = new Scratch();
    const make = [
      "token",
      "create",
      "--user",
      "7",
      "--scope",
      "admin, node",
      "--ttl",
      "1d",
      "--node",
      "n:1",
    ];
    const { stdout } = await rfaas([...make, "--state", scratch.path]);
    const shown = await rfaas(["token", "show", stdout.trim()]);
    const cluster = readFileSync(scratch.join("cluster-id"), "utf8").trim();
    expect(JSON.parse(shown.stdout)).toMatchObject({
      ...{
        user: "7",
        scopes: ["admin", "node"],
        node: "n:1",
        cluster,
        keyId: expect.stringMatching(/^.{43}$/),
      },
    });
    expect(shown.stdout).not.toContain(stdout.trim().split(".")[3]);
    const fromEnvironment = await rfaas(["token", "show"], { RFAAS_TOKEN: stdout.trim() });
    expect(fromEnvironment.stdout).toBe(shown.stdout);
  });

  test.each<[string[], RegExp]>([
    [[], /token takes create, show, renew, list, revoke, rotate/],
    [["create"], /--user must be a name/],
    [["create", "--user", "a b"], /--user must be a name/],
    [["create", "--user", "a", "--ttl", "soon"], /--ttl must be a duration/],
    [["create", "--user", "a", "--ttl", "0s"], /--ttl must be a finite duration above 0/],
    [["create", "--user", "a", "--max-cores", "0"], /--max-cores must be a whole number/],
    [["create", "--user", "a", "--max-memory", "much"], /--max-memory must be a size/],
    [["create", "--user", "a", "--project", "a b"], /--project must be a project's name/],
    [["create", "--user", "a", "--scope", "root"], /--scope is a list of client, bill, node/],
    [["create", "--user", "a", "--scope", "node"], /for one node alone; name it with --node/],
    [["create", "--user", "a", "--node", "a/b"], /--node must be a node's name/],
    [["create", "--user", "a", "more"], /token takes create, show, renew, list, revoke, rotate/],
    [["show"], /needs a token/],
    [["list"], /there is no manager's state in .*; name its directory with --state DIR/],
    [["revoke", "--user", "a"], /there is no manager's state in/],
    [["revoke", "4a2273e2"], /there is no manager's state in/],
  ])("%j is refused", async (args, reason) => {
    using scratch = new Scratch();
    const { exitCode, stdout, stderr } = await rfaas(["token", ...args], {
      XDG_STATE_HOME: scratch.path,
    });
    expect([exitCode, stdout]).toEqual([2, ""]);
    expect(stderr).toMatch(reason);
    expect(existsSync(scratch.join("rfaas"))).toBe(false);
  });

  test("revoke says of a user without a token in the list that the name may be wrong, and of others nothing", async () => {
    using scratch = new Scratch();
    const inState = (...args: string[]) => rfaas(["token", ...args, "--state", scratch.path]);
    await inState("create", "--user", "ada");
    const [adda, ada] = [
      await inState("revoke", "--user", "adda"),
      await inState("revoke", "--user", "ada"),
    ];
    expect([adda.exitCode, ada.exitCode]).toEqual([0, 0]);
    expect(adda.stderr).toContain("no token of adda is in the list");
    expect(ada.stderr).not.toContain("in the list");
  });

  test.each([
    ["eyJzZWNyZXQ.c2VjcmV0.c2VjcmV0", "TokenRefused: the token is malformed"],
    ["rfaas1.c2VjcmV0.c2VjcmV0", "TokenRefused: the token was made by an earlier rfaas"],
  ])("show does not repeat a token that is wrong: %s", async (wrong, says) => {
    const { exitCode, stderr } = await rfaas(["token", "show", wrong]);
    expect(exitCode).toBe(1);
    expect(stderr).toContain(says);
    expect(stderr).not.toContain("c2VjcmV0");
  });
});

describe("rfaas user", () => {
  test.each<[string[], RegExp]>([
    [[], /user takes set NAME, list or show NAME/],
    [["frees", "ada"], /user takes set NAME, list or show NAME/],
    [["list"], /there is no manager's state in .*; name its directory with --state DIR/],
    [["show", "ada"], /there is no manager's state in/],
    [["set", "ada", "--max-cores", "1"], /there is no manager's state in/],
  ])("%j is refused where no manager is, and makes nothing there", async (args, reason) => {
    using scratch = new Scratch();
    const env = { XDG_STATE_HOME: scratch.path };
    const { exitCode, stdout, stderr } = await rfaas(["user", ...args], env);
    expect([exitCode, stdout]).toEqual([2, ""]);
    expect(stderr).toMatch(reason);
    expect(existsSync(scratch.join("rfaas"))).toBe(false);
  });
});

describe("rfaas bill", () => {
  test("reads the ledger while it is written, and asks a manager alike", async () => {
    await using cluster = await Cluster.start();
    const huge = 2 ** 53;
    cluster.ledger.record([report("1", "ada", 1000, huge), report("2", "ada", 1000, huge)]);
    cluster.ledger.record([report("3", "ada", 1000, 1), report("4", "bob", Date.now())]);
    const token = await cluster.token("read");
    const ways = [
      ["--state", cluster.state],
      ["--http", cluster.url, "--token", token],
      ["--http", new URL(cluster.url).host, "--token", token],
    ];
    for (const way of ways) {
      const people = await rfaas(["bill", ...way]);
      expect([people.exitCode, people.stderr]).toEqual([0, ""]);
      expect(people.stdout).toMatch(/^user +leases +live +held\[core-s\] .* cost\[EUR\]\n/);
      expect(people.stdout).toMatch(
        /^bob +1 +1 +1\.000 +0\.500 +0\.000 +1000000 +1 GiB +0\.\d{6}$/m,
      );
      expect(people.stdout).toMatch(/^total +\d+\.\d{6}$/m);

      const json = await rfaas(["bill", "--json", "--user", "ada", ...way]);
      expect(json.stdout).toContain(`"executionNs":${2n ** 54n + 1n},`);
      const csv = await rfaas(["bill", "--csv", "--since", "1h", ...way]);
      expect(csv.stdout.split("\n")).toEqual([
        "user,project,leases,live,presumed,allocationCoreNs,executionNs,pollingNs,calls,bytes,cost,currency",
        expect.stringMatching(/^bob,,1,1,0,1000000000,500000000,0,1000000,1073741824,0\.\d+,EUR$/),
        "",
      ]);
    }
    const env = { RFAAS_HTTP: cluster.url, RFAAS_TOKEN: token };
    const ever = await rfaas(["bill", "--since", "100000000d", "--json"], env);
    expect(JSON.parse(ever.stdout).rows).toHaveLength(2);
    const asked = await rfaas(["bill", "--until", "1970-01-02", "--json"], env);
    expect(JSON.parse(asked.stdout).rows).toMatchObject([{ user: "ada", leases: 3 }]);
  });

  test("has projects apart, and ends that are presumed, where there are any", async () => {
    await using cluster = await Cluster.start();
    cluster.ledger.record([
      report("1", "ada", 1000),
      { ...report("2", "ada", 1000), project: "climate" },
      { ...report("3", "bob", 1000), project: "climate" },
    ]);
    cluster.ledger.presumeEnded(["2"]);
    const token = await cluster.token("read");
    for (const way of [
      ["--state", cluster.state],
      ["--http", cluster.url, "--token", token],
    ]) {
      const people = await rfaas(["bill", ...way]);
      expect(people.stdout).toMatch(/^user +project +leases +live +presumed +held/);
      expect(people.stdout).toMatch(/^ada +- +1 +1 +0 /m);
      expect(people.stdout).toMatch(/^ada +climate +1 +0 +1 /m);
      const csv = await rfaas(["bill", "--csv", "--project", "climate", ...way]);
      expect(csv.stdout.split("\n").slice(1)).toEqual([
        expect.stringMatching(/^ada,climate,1,0,1,/),
        expect.stringMatching(/^bob,climate,1,1,0,/),
        "",
      ]);
    }
  });

  test("is a user's own with the scope bill, which shows nothing else", async () => {
    await using cluster = await Cluster.start();
    cluster.ledger.record([report("1", "ada", 1000), report("2", "bob", 1000)]);
    const token = await cluster.token("bill");
    const ask = (...args: string[]) => rfaas([...args, "--http", cluster.url, "--token", token]);
    const own = await ask("bill", "--json");
    expect(JSON.parse(own.stdout).rows).toMatchObject([{ user: "ada", leases: 1 }]);
    const other = await ask("bill", "--user", "bob");
    expect([other.exitCode, other.stderr]).toEqual([1, expect.stringContaining("no bill but")]);
    const nodes = await ask("node", "ls");
    expect(nodes.exitCode).toBe(1);
    expect(nodes.stderr).toContain("is for bill and not for read; ask for one with --scope read");
  });

  test("takes prices of one's own", async () => {
    await using cluster = await Cluster.start();
    cluster.ledger.record([report("1", "ada", 1000)]);
    const prices = cluster.file(
      "prices.json",
      '{"currency":"CHF","coreSecond":1,"executionSecond":10,"millionCalls":100,"gib":1000}',
    );
    const token = await cluster.token("read");
    for (const way of [
      ["--state", cluster.state],
      ["--http", cluster.url, "--token", token],
    ]) {
      const { stdout } = await rfaas(["bill", "--json", "--prices", prices, ...way]);
      expect(JSON.parse(stdout)).toMatchObject({ total: 1106, prices: { currency: "CHF" } });
    }
  });

  test("quotes names for CSV, and shows none that a terminal would obey", async () => {
    await using cluster = await Cluster.start();
    cluster.ledger.record([report("1", 'a "b", c', 1000), report("2", "\u001b[2Jx", 1000)]);
    const csv = await rfaas(["bill", "--csv", "--state", cluster.state]);
    expect(csv.stdout).toContain('\n"a ""b"", c",,1,');
    const people = await rfaas(["bill", "--state", cluster.state]);
    expect(people.stdout).not.toContain("\u001b");
  });

  test.each<[string[], number, RegExp]>([
    [["--json", "--csv"], 2, /exclude each other/],
    [["--state", "/x", "--http", "x:1"], 2, /exclude each other/],
    [["--since", "soon"], 2, /--since must be a date/],
    [["--state", "/nonexistent"], 1, /there is no ledger at/],
    [["--prices", "/nonexistent"], 2, /--prices \/nonexistent cannot be read/],
    [["--http", "127.0.0.1:1"], 3, /no manager answers at http:\/\/127.0.0.1:1/],
    [["--http", "::"], 2, /--http must be a URL/],
    [["extra"], 2, /takes no argument/],
  ])("%j is refused", async (args, exit, reason) => {
    const { exitCode, stdout, stderr } = await rfaas(["bill", ...args]);
    expect([exitCode, stdout]).toEqual([exit, ""]);
    expect(stderr).toMatch(reason);
  });
});

describe("rfaas node", () => {
  test("lists, drains, resumes and removes", async () => {
    await using cluster = await Cluster.start();
    const described = { address: "10.0.0.1:7700", cores: 8, memoryBytes: 2 ** 33 };
    for (const name of ["n1", "n2"]) cluster.registry.expect({ name, ...described });
    const env = { RFAAS_HTTP: cluster.url, RFAAS_TOKEN: await cluster.token("admin") };

    const listed = await rfaas(["node", "ls"], env);
    expect(listed.stdout.split("\n")).toEqual([
      expect.stringMatching(
        /^name +state +address +free\/cores +free\/memory +leases +kept +waiting +reachable +fabrics$/,
      ),
      expect.stringMatching(/^n1 +expected +10\.0\.0\.1:7700 +0\/8 +0 B\/8 GiB +0 +- +- +-$/),
      expect.stringMatching(/^n2 /),
      "",
    ]);
    const one = await rfaas(["node", "ls", "n2", "--json"], env);
    expect(JSON.parse(one.stdout)).toEqual({
      nodes: [{ ...cluster.registry.get("n2"), ...TOLD }],
    });

    const drained = await rfaas(["node", "drain", "n1", "--deadline", "5m"], env);
    expect([drained.exitCode, drained.stdout]).toEqual([0, ""]);
    expect(drained.stderr).toContain("n1 drains; leases that are left in 300 s are ended");
    expect(cluster.drains).toEqual([300_000]);
    expect((await rfaas(["node", "resume", "n1"], env)).exitCode).toBe(0);
    expect(cluster.registry.drainLeftMs("n1", 0)).toBeUndefined();
    expect((await rfaas(["node", "remove", "n1"], env)).exitCode).toBe(0);
    expect(cluster.registry.get("n1")).toBeUndefined();

    const again = await rfaas(["node", "remove", "n1"], env);
    expect([again.exitCode, again.stderr]).toEqual([
      2,
      expect.stringContaining('there is no node "n1"'),
    ]);

    const back = await rfaas(["node", "readmit", "n1"], env);
    expect([back.exitCode, back.stderr]).toEqual([0, expect.stringContaining("n1 may come again")]);
  });

  test("says why the manager will not", async () => {
    await using cluster = await Cluster.start();
    const anonymous = await rfaas(["node", "ls", "--http", cluster.url]);
    expect([anonymous.exitCode, anonymous.stderr]).toEqual([
      1,
      expect.stringContaining("TokenRefused: a token is needed"),
    ]);
    const env = { RFAAS_HTTP: cluster.url, RFAAS_TOKEN: await cluster.token("read") };
    const reader = await rfaas(["node", "drain", "n1"], env);
    expect([reader.exitCode, reader.stderr]).toEqual([
      1,
      expect.stringContaining("is for read and not for admin"),
    ]);
  });

  test("says when what answers is no manager", async () => {
    using other = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response("hello") });
    const { exitCode, stderr } = await rfaas(["node", "ls", "--http", other.url.href]);
    expect([exitCode, stderr]).toEqual([1, expect.stringContaining("no list of nodes")]);
    const bill = await rfaas(["bill", "--http", other.url.href]);
    expect([bill.exitCode, bill.stderr]).toEqual([1, expect.stringContaining("is no bill")]);
  });

  test.each<[string[], RegExp]>([
    [[], /node takes drain, resume, remove, readmit, ls, forget, join-token and a name/],
    [["stop", "n1"], /node takes drain/],
    [["drain"], /node drain needs the name or the address of a node/],
    [["forget"], /node forget needs the address of a node, HOST:PORT/],
    [["drain", "n1", "--deadline", "30"], /--deadline must be a duration/],
    [["resume", "n1", "--deadline", "30s"], /--deadline is for drain, not for resume/],
    [["drain", "n1", "--json"], /--json is for ls/],
    [["ls", "n1", "n2"], /node takes drain/],
    [["join-token", "n 1"], /a node's name is of letters, digits/],
    [["drain", "n1", "--ttl", "5m"], /--ttl is for join-token, not for drain/],
    [["ls", "--state", "/tmp"], /--state is for join-token, not for ls/],
    [["join-token", "--ttl", "90d"], /--ttl must be from 1s to 30d/],
    [["forget", "n1"], /"n1" is no address: it has no port/],
    [["forget", "./node.sock"], /a socket such as .* has no key/],
    [
      ["forget", "nowhere.invalid:1"],
      /no key is remembered for nowhere.invalid:1 in .*known_nodes/,
    ],
  ])("%j is refused", async (args, reason) => {
    const { exitCode, stderr } = await rfaas(["node", ...args, "--http", "127.0.0.1:1"]);
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(reason);
  });

  test("needs to know the manager", async () => {
    const { exitCode, stderr } = await rfaas(["node", "ls"]);
    expect(exitCode).toBe(2);
    expect(stderr).toContain("give --http URL or set RFAAS_HTTP");
  });
});

test("a manager that hangs keeps no command: it says so and ends", async () => {
  using scratch = new Scratch();
  await using manager = await RunningManager.start(scratch.path, ["--http", "127.0.0.1:0"]);
  const { url } = manager;
  process.kill(manager.pid, "SIGSTOP");
  try {
    const { exitCode, stderr } = await rfaas(["node", "ls", "--http", url]);
    expect(stderr).toContain("hangs: it has not answered within 5 s");
    expect(exitCode).not.toBe(0);
  } finally {
    process.kill(manager.pid, "SIGCONT");
  }
}, 30_000);
