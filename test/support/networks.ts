/**
 * Two networks with a cable between them, as two machines that share no memory: the cable can be cut, lose packets and be slow.
 * Needs root, and says what it lacks.
 */
import { expect } from "bun:test";

export const NODE_HOST = "10.77.0.2";

const run = (command: string[], stdin = ""): boolean =>
  Bun.spawnSync(command, { stdin: Buffer.from(stdin), stderr: "ignore" }).success;

const ip = (...args: string[]): boolean => run(["ip", ...args]);

function lackingFor(programs: readonly string[]): string | undefined {
  const missing = programs.filter((program) => Bun.which(program) === null);
  if (process.getuid?.() !== 0) return "root";
  if (missing.length > 0) return missing.join(" and ");
  const probe = `rfaas-probe-${process.pid}`;
  if (!ip("netns", "add", probe)) return "the right to make networks";
  ip("netns", "del", probe);
  return undefined;
}

/** What this machine lacks for networks of a test's own, or undefined; `programs` are what the test needs besides `ip`. */
export const lackingForNetworks = (...programs: string[]): string | undefined =>
  lackingFor(["ip", ...programs]);

export class TwoNetworks implements Disposable {
  /** The network of the node, which is at {@link NODE_HOST}. */
  readonly #node = `rfaas-node-${process.pid}`;
  readonly #client = `rfaas-client-${process.pid}`;

  constructor() {
    const [node, client] = [this.#node, this.#client];
    const steps = [
      ["netns", "add", node],
      ["netns", "add", client],
      ["-n", client, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", node],
      ["-n", client, "addr", "add", "10.77.0.1/24", "dev", "eth0"],
      ["-n", node, "addr", "add", `${NODE_HOST}/24`, "dev", "eth0"],
      ...[client, node].flatMap((network) => [
        ["-n", network, "link", "set", "lo", "up"],
        ["-n", network, "link", "set", "eth0", "up"],
      ]),
    ];
    for (const step of steps) expect([step, ip(...step)]).toEqual([step, true]);
  }

  /** What comes before a command that runs on the node's side. */
  get onNode(): string[] {
    return ["ip", "netns", "exec", this.#node];
  }

  get onClient(): string[] {
    return ["ip", "netns", "exec", this.#client];
  }

  /** Nothing passes any more, and neither side is told. */
  cut(): void {
    expect(ip("-n", this.#node, "link", "set", "eth0", "down")).toBe(true);
  }

  mend(): void {
    expect(ip("-n", this.#node, "link", "set", "eth0", "up")).toBe(true);
  }

  /** One packet of a hundred does not arrive, on either side. */
  lose(): void {
    const rules = `table inet rfaas {
      chain lossy {
        type filter hook input priority 0
        iifname "eth0" numgen random mod 100 == 0 counter drop
      }
    }`;
    for (const within of [this.onNode, this.onClient])
      expect(run([...within, "nft", "-f", "-"], rules)).toBe(true);
  }

  /** How many packets each side has lost. */
  lost(): number[] {
    return [this.onNode, this.onClient].map((within) => {
      const { stdout } = Bun.spawnSync([...within, "nft", "list", "table", "inet", "rfaas"]);
      return Number(/counter packets (\d+)/.exec(stdout.toString())?.[1]);
    });
  }

  /** Each side sends at most so much, such as `20mbit`, and what it has no room for is lost. */
  slow(rate: string): void {
    const limits = ["tbf", "rate", rate, "burst", "64kbit", "latency", "100ms"];
    for (const within of [this.onNode, this.onClient])
      expect(run([...within, "tc", "qdisc", "add", "dev", "eth0", "root", ...limits])).toBe(true);
  }

  [Symbol.dispose](): void {
    for (const network of [this.#client, this.#node]) ip("netns", "del", network);
  }
}
