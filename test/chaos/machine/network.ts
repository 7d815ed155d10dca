/**
 * The networks of a run: one for the manager, the clients and two nodes, which share memory with their clients, and one each for two nodes
 * elsewhere. All are of the run's own, and gone after it with all that listens in them.
 */
import { lackingForNetworks } from "../../support/networks.ts";

export const HOME = "10.78.0.1";
const HOME_BITS = `${HOME}/24`;

const run = (command: string[], stdin = ""): string => {
  const { success, stdout, stderr } = Bun.spawnSync(command, { stdin: Buffer.from(stdin) });
  if (!success) throw new Error(`${command.join(" ")}: ${stderr}`);
  return stdout.toString();
};
const ip = (...args: string[]): string => run(["ip", ...args]);

/** What this machine lacks for such networks, or undefined. */
export const lackingForRun = (): string | undefined => lackingForNetworks("nft", "nsenter");

/** What stands before a command that is to run in a network. Its mounts are those of this process, unlike with `ip netns exec`. */
const within = (name: string): string[] => ["nsenter", `--net=/run/netns/${name}`];

export class Networks implements Disposable {
  readonly #home = `rfaas-chaos-${process.pid}`;
  readonly #away: readonly string[];

  constructor(away: number) {
    this.#away = Array.from({ length: away }, (_, i) => `${this.#home}-${i + 1}`);
    const home = this.#home;
    ip("netns", "add", home);
    ip("-n", home, "link", "add", "br0", "type", "bridge");
    ip("-n", home, "addr", "add", HOME_BITS, "dev", "br0");
    for (const link of ["lo", "br0"]) ip("-n", home, "link", "set", link, "up");
    for (const [i, name] of this.#away.entries()) {
      ip("netns", "add", name);
      const end = ["type", "veth", "peer", "name", "eth0", "netns", name];
      ip("-n", home, "link", "add", `v${i + 1}`, ...end);
      ip("-n", home, "link", "set", `v${i + 1}`, "master", "br0", "up");
      ip("-n", name, "addr", "add", `${this.addressAway(i)}/24`, "dev", "eth0");
      for (const link of ["lo", "eth0"]) ip("-n", name, "link", "set", link, "up");
    }
  }

  get home(): string[] {
    return within(this.#home);
  }

  away(i: number): string[] {
    return within(this.#away[i]!);
  }

  addressAway(i: number): string {
    return `10.78.0.${10 + i}`;
  }

  /** No connection passes, in neither direction, and nobody is told; datagrams, which carry what functions have done, do. */
  cut(i: number): void {
    const rules = `table inet chaos {
      chain in { type filter hook input priority 0; iifname "eth0" meta l4proto tcp drop; }
      chain out { type filter hook output priority 0; oifname "eth0" meta l4proto tcp drop; }
    }`;
    run([...this.away(i), "nft", "-f", "-"], rules);
  }

  mend(i: number): void {
    run([...this.away(i), "nft", "delete", "table", "inet", "chaos"]);
  }

  /** Each packet from there takes so long, give or take, and no shorter one overtakes it. */
  slow(i: number, delayMs: number, jitterMs: number): void {
    const delay = ["delay", `${delayMs}ms`, `${jitterMs}ms`];
    run([...this.away(i), "tc", "qdisc", "add", "dev", "eth0", "root", "netem", ...delay]);
  }

  hasten(i: number): void {
    run([...this.away(i), "tc", "qdisc", "del", "dev", "eth0", "root"]);
  }

  /** What listens in any of them, as `ss` says it. */
  listening(): string[] {
    return [this.#home, ...this.#away].flatMap((name) =>
      run([...within(name), "ss", "-Htlnp"])
        .trim()
        .split("\n")
        .filter(Boolean),
    );
  }

  /** Datagrams that found no room where effects are collected. */
  lostDatagrams(): number {
    const lines = run([...this.home, "cat", "/proc/net/snmp"])
      .split("\n")
      .filter((line) => line.startsWith("Udp:"))
      .map((line) => line.split(" "));
    return Number(lines[1]![lines[0]!.indexOf("RcvbufErrors")]);
  }

  [Symbol.dispose](): void {
    for (const name of [...this.#away, this.#home]) ip("netns", "del", name);
  }
}
