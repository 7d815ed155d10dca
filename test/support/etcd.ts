/** An etcd of the test's own, real, on loopback, with its data in a folder of the test's. */
import { until } from "./until.ts";

const PROGRAM = "etcd";

/** Why there is none here; undefined where one can be started. */
export function whyNoEtcd(): string | undefined {
  return Bun.which(PROGRAM) ? undefined : "no etcd; run: apt-get install etcd-server";
}

function freePort(): number {
  const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { port } = probe;
  probe.stop(true);
  return port;
}

/** Above all keys that begin so. */
const endOf = (prefix: string): string =>
  prefix.slice(0, -1) + String.fromCharCode(prefix.charCodeAt(prefix.length - 1) + 1);

export class RunningEtcd implements AsyncDisposable {
  /** HOST:PORT, for a URL of `--registry`. */
  readonly address: string;
  readonly #command: readonly string[];
  readonly #scheme: string;
  #child: Bun.Subprocess;

  private constructor(folder: string, args: readonly string[]) {
    const [client, peer] = [freePort(), freePort()];
    this.address = `127.0.0.1:${client}`;
    this.#scheme = args.some((one) => one.startsWith("--cert-file")) ? "https" : "http";
    const url = `${this.#scheme}://${this.address}`;
    const peers = `http://127.0.0.1:${peer}`;
    this.#command = [
      ...[PROGRAM, "--data-dir", folder, "--log-level", "error"],
      ...["--listen-client-urls", url, "--advertise-client-urls", url],
      ...["--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers],
      ...["--initial-cluster", `default=${peers}`, ...args],
    ];
    this.#child = this.#spawn();
  }

  static async start(folder: string, args: readonly string[] = []): Promise<RunningEtcd> {
    const etcd = new RunningEtcd(folder, args);
    await etcd.#serving();
    return etcd;
  }

  /** As a manager is told of it. */
  get url(): string {
    return `etcd://${this.address}`;
  }

  /** At once, as a loss of power does to a process. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
  }

  /** Starts it again at the same place, with the same data. */
  async restart(): Promise<void> {
    this.#child = this.#spawn();
    await this.#serving();
  }

  /** Asks a method of its interface. */
  async ask(method: string, body: object): Promise<unknown> {
    const response = await fetch(`${this.#scheme}://${this.address}/v3/${method}`, {
      ...{ method: "POST", body: JSON.stringify(body), tls: { rejectUnauthorized: false } },
    });
    if (!response.ok) throw new Error(`etcd's ${method}: ${await response.text()}`);
    return await response.json();
  }

  /** The names of all keys that begin so. */
  async keys(prefix: string): Promise<string[]> {
    const asked = { key: btoa(prefix), range_end: btoa(endOf(prefix)), keys_only: true };
    const { kvs = [] } = (await this.ask("kv/range", asked)) as { kvs?: { key: string }[] };
    return kvs.map(({ key }) => atob(key));
  }

  /** The value of a key, as text. */
  async value(key: string): Promise<string> {
    const { kvs } = (await this.ask("kv/range", { key: btoa(key) })) as {
      kvs: { value: string }[];
    };
    return atob(kvs[0]!.value);
  }

  /** From now on asks for passwords: this user's, who may do what is under `prefix`, and root's. */
  async protect(user: string, password: string, prefix: string): Promise<void> {
    for (const [name, word] of [
      ["root", crypto.randomUUID()],
      [user, password],
    ])
      await this.ask("auth/user/add", { name, password: word });
    const perm = { permType: "READWRITE", key: btoa(prefix), range_end: btoa(endOf(prefix)) };
    await this.ask("auth/role/add", { name: "managers" });
    await this.ask("auth/role/grant", { name: "managers", perm });
    await this.ask("auth/user/grant", { user, role: "managers" });
    await this.ask("auth/role/add", { name: "root" });
    await this.ask("auth/user/grant", { user: "root", role: "root" });
    await this.ask("auth/enable", {});
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }

  #spawn(): Bun.Subprocess {
    return Bun.spawn([...this.#command], { stdin: "ignore", stdout: "ignore", stderr: "ignore" });
  }

  async #serving(): Promise<void> {
    await until(async () => {
      if (this.#child.exitCode !== null) throw new Error("etcd ended");
      const tls = { rejectUnauthorized: false };
      const health = await fetch(`${this.#scheme}://${this.address}/health`, { tls }).catch(
        () => undefined,
      );
      return health?.ok === true;
    }, "etcd serves");
  }
}
