/**
 * A cluster whose machines speak TLS: manager, nodes and clients over an address of this machine that is not loopback, as they would
 * from elsewhere.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, rmSync, statSync } from "node:fs";
import { type Finished, RFAAS, ServedNode, rfaas } from "../support/executable.ts";
import { RunningManager } from "../support/manager.ts";
import { ownAddress } from "../support/own-address.ts";
import { RecordingRelay } from "../support/recording-relay.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";
import { invoker } from "../../src/index.ts";

const LIMIT_MS = 60_000;
const HOST = ownAddress();
if (HOST === undefined) console.warn("skipped: this machine has no address but loopback");
const secure = describe.skipIf(HOST === undefined);

const STRANGER = `sha256:${"0".repeat(64)}`;

interface JoinToken {
  manager: string;
  joinToken: string;
  expiresAt: string;
}

/** A manager with a key, and what belongs to it. */
class SecureCluster implements AsyncDisposable {
  readonly scratch = new Scratch();
  readonly #nodes: ServedNode[] = [];
  manager!: RunningManager;
  /** What its log tells, at its first start. */
  ca!: string;
  secureAddress!: string;
  /** Those of the user ada, and of an administrator. */
  token!: string;
  admin!: string;

  static async start(...args: string[]): Promise<SecureCluster> {
    const cluster = new SecureCluster();
    const { scratch } = cluster;
    cluster.token = await cluster.createToken("ada", "client,read");
    cluster.admin = await cluster.createToken("root", "admin");
    cluster.manager = await RunningManager.start(
      scratch.path,
      ["--http", `${HOST}:0`, ...args],
      HOST,
    );
    await until(() => cluster.manager.stderr.includes("add a node"), "the manager tells its CA");
    cluster.ca = cluster.manager.ca;
    cluster.secureAddress = cluster.manager.secureAddress;
    return cluster;
  }

  get state(): string {
    return this.scratch.join("state");
  }

  async createToken(user: string, scope: string, ...more: string[]): Promise<string> {
    const args = ["token", "create", "--user", user, "--scope", scope, "--state", this.state];
    return (await rfaas([...args, ...more])).stdout.trim();
  }

  async joinToken(...args: string[]): Promise<JoinToken> {
    const said = await rfaas(["node", "join-token", "--json", "--state", this.state, ...args]);
    return JSON.parse(said.stdout) as JoinToken;
  }

  stateOf(name: string): string {
    return this.scratch.join(`of-${name}`);
  }

  serveArgs(name: string, ...args: string[]): string[] {
    const own = ["--name", name, "--state", this.stateOf(name)];
    return [...own, "--cores", "1", "--prewarm", "0", ...args];
  }

  async serve(name: string, ...args: string[]): Promise<ServedNode> {
    const node = await ServedNode.start(`${HOST}:0`, this.serveArgs(name, ...args));
    this.#nodes.push(node);
    return node;
  }

  /** A node that has joined. */
  async join(name: string, ...args: string[]): Promise<ServedNode> {
    const { manager, joinToken } = await this.joinToken();
    const node = await this.serve(name, "--manager", manager, "--join", joinToken, ...args);
    await until(() => node.stderr.includes("knows this node"), `${name} is accepted`);
    return node;
  }

  /** Runs a command as a client that pins the CA, unless `env` says otherwise. */
  async client(args: string[], env: Record<string, string> = {}): Promise<Finished> {
    const own = { RFAAS_CA: this.ca, RFAAS_TOKEN: this.token };
    const home = { XDG_CONFIG_HOME: this.scratch.join("config") };
    return await rfaas(args, { env: { ...home, ...own, ...env }, limitMs: LIMIT_MS });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const node of this.#nodes) await node[Symbol.asyncDispose]();
    await this.manager[Symbol.asyncDispose]();
    this.scratch[Symbol.dispose]();
  }
}

const SOURCE = `import { Type, defineFunction } from "rfaas/function";
export const double = defineFunction({ input: Type.Number(), output: Type.Number() }, (n) => 2 * n);`;

secure("a cluster of several machines", () => {
  let cluster: SecureCluster;
  let node: ServedNode;
  let call: (manager: string, ...more: string[]) => string[];

  beforeAll(async () => {
    process.env["RFAAS_EXECUTABLE"] = RFAAS;
    cluster = await SecureCluster.start();
    node = await cluster.join("n1");
    const module = cluster.scratch.file("double.ts", SOURCE);
    call = (manager, ...more) => [
      ...["invoke", `${module}#double`, "--json", "21", "--manager", manager],
      ...more,
    ];
  }, LIMIT_MS);
  afterAll(async () => await cluster[Symbol.asyncDispose]());

  test(
    "prints the command by which another machine joins, and its clients call by the manager's address",
    async () => {
      const { stdout } = await rfaas(["node", "join-token", "--state", cluster.state]);
      expect(stdout).toBe(
        `rfaas serve --listen 0.0.0.0:7700 --manager '${cluster.secureAddress}' --join ${/join-\S+/.exec(stdout)![0]}\n`,
      );
      for (const manager of [cluster.manager.address, cluster.secureAddress]) {
        const { stdout, stderr } = await cluster.client(call(manager));
        expect([stdout, stderr]).toEqual(["42\n", ""]);
      }
      // What pins by the address needs no variable, and one variable can name the manager.
      const alone = { RFAAS_CA: "" };
      const { stdout: result } = await cluster.client(call(cluster.secureAddress), alone);
      expect(result).toBe("42\n");
      const [command, target, ...input] = call("").slice(0, -2) as [string, string, ...string[]];
      const named = { ...alone, RFAAS_MANAGER: cluster.secureAddress };
      expect((await cluster.client([command, target, ...input], named)).stdout).toBe("42\n");
      expect(existsSync(cluster.scratch.join("config"))).toBe(false);
    },
    LIMIT_MS,
  );

  test(
    "lets no stranger on the way read a token, nor anything else",
    async () => {
      const [, port] = /:(\d+)$/.exec(cluster.manager.address)!;
      await using relay = await RecordingRelay.start(HOST!, { host: HOST!, port: Number(port) });
      const address = `rfaas://${HOST}:${relay.port}?ca=${cluster.ca}`;
      const { joinToken } = await cluster.joinToken();
      const far = await cluster.serve("far", "--manager", address, "--join", joinToken);
      await until(() => far.stderr.includes("knows this node"), "it is accepted");
      const { stdout } = await cluster.client(call(address));
      expect(stdout).toBe("42\n");
      const seen = Buffer.concat(
        relay.connections.flatMap(({ sent, received }) => [...sent, ...received]),
      );
      expect(seen.length).toBeGreaterThan(1000);
      const [, , secret] = joinToken.split("-");
      for (const text of [secret!, cluster.token, "announce", "enrol", "subscribe", "RFAAS"])
        expect(seen.includes(text)).toBe(false);
      await far[Symbol.asyncDispose]();
      await rfaas([
        "node",
        "remove",
        "far",
        "--http",
        `${cluster.manager.url}?ca=${cluster.ca}`,
        "--token",
        cluster.admin,
      ]);
    },
    LIMIT_MS,
  );

  test(
    "refuses one that is pinned as another, before anything is said",
    async () => {
      const wrong = `rfaas://${cluster.manager.address}?ca=${STRANGER}`;
      const client = await cluster.client(call(wrong));
      expect(client.stderr).toContain(
        `is not the manager that is pinned: none of the certificates that it shows is the pinned CA ${STRANGER}; nothing was sent to it`,
      );
      expect(client.exitCode).toBe(3);
      const { joinToken } = await cluster.joinToken();
      const args = cluster.serveArgs("n9", "--manager", wrong, "--join", joinToken);
      const joining = await rfaas(["serve", "--listen", `${HOST}:0`, ...args]);
      expect(joining.stderr).toContain("is not the manager that is pinned");
      expect(joining.exitCode).not.toBe(0);
      // It was not used up.
      const node = await cluster.serve(
        "n9",
        "--manager",
        cluster.secureAddress,
        "--join",
        joinToken,
      );
      await until(() => node.stderr.includes("knows this node"), "it is accepted");
      await node[Symbol.asyncDispose]();
    },
    LIMIT_MS,
  );

  test(
    "takes no node for the manager, and no node for another",
    async () => {
      const place = `${HOST}:${node.port}`;
      const asManager = await cluster.client(["ps", "--manager", place]);
      expect(asManager.stderr).toContain(
        "is not the manager that is pinned: it is rfaas:node:n1, no manager",
      );
      const asNode = await cluster.client(["ps", "--node", cluster.manager.address]);
      expect(asNode.stderr).toContain("it is rfaas:manager, no node");
      await using _liar = await cluster.join("liar", "--advertise", place);
      await using rf = await invoker({
        ...{ manager: cluster.secureAddress, token: cluster.token },
      });
      await until(() => rf.nodes().some(({ name }) => name === "liar"), "the node is told of");
      await rf.status();
      // With the real one full, the other is asked.
      await using _lease = await rf.allocate("rfaas:echo");
      const refused = await rf.allocate("rfaas:echo", { timeoutMs: 1000 }).catch((error) => error);
      expect(refused.message).toContain("it is rfaas:node:n1, and not the node liar");
    },
    LIMIT_MS,
  );

  test(
    "says what is wrong with a join token",
    async () => {
      const attempt = async (name: string, joinToken: string): Promise<string> => {
        const manager = cluster.secureAddress;
        const args = cluster.serveArgs(name, "--manager", manager, "--join", joinToken);
        const { exitCode, stderr } = await rfaas(["serve", "--listen", `${HOST}:0`, ...args]);
        expect(exitCode).not.toBe(0);
        return stderr;
      };
      const again = "make a new one on the manager's machine: rfaas node join-token";
      const head = `the manager at ${cluster.manager.address} does not let this node join: `;
      const { joinToken } = await cluster.joinToken("--ttl", "1s");
      const { expiresAt } = await cluster.joinToken("--ttl", "1s");
      await until(() => Date.now() > Date.parse(expiresAt), "they have expired");
      expect(await attempt("n3", joinToken)).toMatch(
        new RegExp(`${head}the join token expired at \\S+Z; ${again}`),
      );
      const used = await cluster.joinToken();
      await using _n4 = await cluster.serve(
        "n4",
        "--manager",
        used.manager,
        "--join",
        used.joinToken,
      );
      expect(await attempt("n5", used.joinToken)).toMatch(
        new RegExp(
          `${head}the join token was used by the node n4 at \\S+Z, and lets in one node only; ${again}`,
        ),
      );
      const damaged =
        "the join token is damaged; copy it whole, as rfaas node join-token printed it";
      expect(await attempt("n5", used.joinToken.slice(0, -1))).toContain(damaged);
      expect(await attempt("n5", "../../etc/passwd")).toContain(damaged);
    },
    LIMIT_MS,
  );

  test(
    "starts a node again that has joined, with the used token or without one, and the manager, too",
    async () => {
      const token = await cluster.joinToken();
      const args = ["--manager", token.manager, "--join", token.joinToken];
      const first = await cluster.serve("again", ...args);
      await until(() => first.stderr.includes("knows this node"), "it is accepted");
      await first[Symbol.asyncDispose]();
      for (const more of [
        args,
        ["--manager", token.manager],
        ["--manager", cluster.manager.address],
      ]) {
        await using node = await cluster.serve("again", ...more);
        await until(() => node.stderr.includes("knows this node"), "it is accepted again");
      }
      await using node = await cluster.serve("again", "--manager", token.manager);
      await until(() => node.stderr.includes("knows this node"), "it is accepted again");
      await cluster.manager.kill();
      await cluster.manager.restart();
      await until(() => cluster.manager.stderr.includes("node again joined"), "the node is back");
      expect(cluster.manager.ca).toBe(cluster.ca);
      await until(() => cluster.manager.stderr.includes("node n1 joined"), "the other one, too");
      expect((await cluster.client(call(cluster.manager.address))).stdout).toBe("42\n");
    },
    2 * LIMIT_MS,
  );

  test(
    "starts no second node with the key and certificate of one that runs",
    async () => {
      const args = cluster.serveArgs("n1", "--manager", cluster.secureAddress);
      const second = await rfaas(["serve", "--listen", `${HOST}:0`, ...args]);
      expect(second.exitCode).toBe(1);
      expect(second.stderr).toContain(
        `another node keeps its state in ${cluster.stateOf("n1")}/node-n1: process ${node.pid} on `,
      );
    },
    LIMIT_MS,
  );

  test("keeps what is secret for its owner alone", () => {
    for (const folder of [cluster.state, cluster.stateOf("n1")])
      for (const file of readdirSync(folder, { recursive: true, withFileTypes: true })) {
        if (!/key|tls|membership|join/.test(file.name) || /\.pub$/.test(file.name)) continue;
        const path = `${file.parentPath}/${file.name}`;
        expect([path, statSync(path).mode & 0o077]).toEqual([path, 0]);
      }
  });

  test(
    "remembers the manager for a client that pins nothing, over its restart, and sends it no bearer token",
    async () => {
      const own = { RFAAS_CA: "", XDG_CONFIG_HOME: cluster.scratch.join("met") };
      const bearer = await cluster.createToken("ada", "client,read", "--bearer");
      const alone = { ...own, RFAAS_TOKEN: bearer };
      const { address } = cluster.manager;
      const first = await cluster.client(["ps", "--manager", address], alone);
      expect(first.stderr).toContain(`the manager at ${address} is new to you: its key sha256:`);
      expect(first.stderr).toMatch(
        /refused this client: no token was sent, as the manager's key sha256:\w+ is pinned nowhere; ask who runs the manager whether it is its key, then name it as rfaas:/,
      );
      await cluster.manager.kill();
      await cluster.manager.restart();
      const second = await cluster.client(["ps", "--manager", address], alone);
      expect(second.stderr).not.toContain("new to you");
      expect(second.stderr).toContain("is pinned nowhere");
      const named = /name it as (rfaas:\S+)/.exec(second.stderr)![1]!;
      expect((await cluster.client(["ps", "--manager", named], alone)).exitCode).toBe(0);
      // One with a key is of no use to who is shown it.
      expect((await cluster.client(["ps", "--manager", address], own)).exitCode).toBe(0);
    },
    LIMIT_MS,
  );

  test(
    "takes no plain connection from another machine, and says so",
    async () => {
      const { stderr, exitCode } = await cluster.client([
        ...["ps", "--manager", cluster.manager.address, "--insecure"],
      ]);
      expect(stderr).toContain(
        "refused this client: this manager speaks TLS with other machines; give its address as rfaas://",
      );
      expect(exitCode).toBe(3);
    },
    LIMIT_MS,
  );

  test(
    "is asked over HTTPS, by our commands and by others",
    async () => {
      const { ca } = cluster;
      await until(() => cluster.manager.stderr.includes("managing at"), "the manager serves");
      const { url } = cluster.manager;
      expect(url).toStartWith("https://");
      for (const http of [`${url}?ca=${ca}`, url, url.replace("https://", "")]) {
        const env = { RFAAS_CA: http.includes("ca=") ? "" : ca, RFAAS_TOKEN: cluster.admin };
        const { stdout } = await cluster.client(["node", "ls", "--http", http], env);
        expect(stdout).toContain("n1 ");
      }
      const bill = await cluster.client(["bill", "--http", url]);
      expect(bill.exitCode).toBe(0);
      const unknown = await cluster.client(["node", "ls", "--http", url], { RFAAS_CA: "" });
      expect(unknown.stderr).toContain("is of no CA that this machine knows");
      const stranger = await cluster.client(["node", "ls", "--http", `${url}?ca=${STRANGER}`]);
      expect(stranger.stderr).toContain("is not the manager that is pinned");
      const bearer = await cluster.createToken("root", "admin", "--bearer");
      const plain = await cluster.client(["node", "ls", "--http", url.replace("https", "http")], {
        RFAAS_TOKEN: bearer,
      });
      expect(plain.stderr).toContain("the token was not sent: ");
      const curl = ["curl", "-sS", "--cacert", `${cluster.state}/ca.pem`];
      const asked = Bun.spawn(
        [...curl, "-H", `Authorization: Bearer ${bearer}`, `${url}/v1/nodes`],
        {
          stdout: "pipe",
        },
      );
      expect(await asked.stdout.json()).toHaveProperty("nodes");
    },
    LIMIT_MS,
  );
});

secure("certificates", () => {
  test(
    "are renewed while manager and node serve, long before they expire",
    async () => {
      await using cluster = await SecureCluster.start("--certificate-ttl", "6s");
      await using node = await cluster.join("n1");
      const renewals = () => node.stderr.split("has another certificate").length - 1;
      await until(() => renewals() >= 3, "the node's is renewed", 40_000);
      await until(
        () => cluster.manager.stderr.includes("the manager has another certificate"),
        "the manager's, too",
      );
      await using rf = await invoker({
        ...{ manager: cluster.secureAddress, token: cluster.token },
      });
      await using lease = await rf.allocate("rfaas:echo");
      expect(lease.workers).toBe(1);
      expect(node.stderr).not.toContain("could not be renewed");
    },
    2 * LIMIT_MS,
  );

  test(
    "get a node another token by themselves when the cluster has a key from then on",
    async () => {
      await using cluster = await SecureCluster.start();
      for (const file of ["token-key.pem", "token-key.pub"]) rmSync(`${cluster.state}/${file}`);
      await cluster.manager.kill();
      await cluster.manager.restart();
      await using node = await cluster.join("n1");
      expect(cluster.manager.stderr).toContain("there is no key");
      const token = await cluster.createToken("ada", "client,read");
      await until(() => cluster.manager.stderr.includes("there is a new key"), "the key counts");
      const accepted = () => node.stderr.split("knows this node").length - 1;
      await until(() => accepted() >= 2, "the node is accepted with a token");
      await using rf = await invoker({ manager: cluster.secureAddress, token });
      await using lease = await rf.allocate("rfaas:echo");
      expect(lease.workers).toBe(1);
    },
    2 * LIMIT_MS,
  );
});

secure("another authority", () => {
  test(
    "is made once the first one's files are gone: nodes join anew with their keys, and earlier pins are refused",
    async () => {
      await using cluster = await SecureCluster.start();
      const node = await cluster.join("n1");
      await node[Symbol.asyncDispose]();
      for (const file of ["ca-key.pem", "ca.pem"]) rmSync(`${cluster.state}/${file}`);
      await cluster.manager.kill();
      await cluster.manager.restart();
      await until(() => cluster.manager.stderr.includes("add a node"), "the manager tells its CA");
      const old = await cluster.client(["ps", "--manager", cluster.manager.address]);
      expect(old.stderr).toContain(`is the pinned CA ${cluster.ca}`);
      cluster.ca = cluster.manager.ca;
      cluster.secureAddress = cluster.manager.secureAddress;
      const args = cluster.serveArgs("n1", "--manager", cluster.secureAddress);
      const member = await rfaas(["serve", "--listen", `${HOST}:0`, ...args]);
      expect(member.stderr).toContain("this node has not joined the cluster of the manager");
      expect(member.exitCode).toBe(2);
      await using _again = await cluster.join("n1");
      const { stdout } = await cluster.client(["ps", "--manager", cluster.manager.address]);
      expect(stdout).toContain("n1 ");
    },
    2 * LIMIT_MS,
  );
});

test(
  "a cluster on one machine has no TLS, and no authority",
  async () => {
    using scratch = new Scratch();
    await using manager = await RunningManager.start(scratch.path, ["--http", "127.0.0.1:0"]);
    const args = ["--manager", manager.address, "--name", "n1", "--state", scratch.join("n1")];
    await using node = await ServedNode.start(scratch.join("n1.sock"), args);
    await until(() => node.stderr.includes("knows this node"), "it is accepted");
    expect(readdirSync(manager.state).filter((name) => /ca|join|address/.test(name))).toEqual([]);
    // Of its rooms and its bills alone.
    const kept = readdirSync(scratch.join("n1"));
    expect(kept.filter((name) => !/^(?:rooms|bills)$/.test(name))).toEqual([]);
    expect(manager.url).toStartWith("http://");
    const token = await rfaas(["node", "join-token", "--state", manager.state]);
    expect(token.stderr).toContain(
      "no manager that other machines reach has run with its state in",
    );
    expect(token.exitCode).toBe(1);
  },
  LIMIT_MS,
);
