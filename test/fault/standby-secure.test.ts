/** Managers of several machines that share an etcd by TLS and a password: keys, tokens and nodes that join, over a takeover. */
import { expect, test } from "bun:test";
import { copyFileSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { certificateAuthority, issue, signingRequest } from "../../src/trust/certificates.ts";
import { RunningEtcd, whyNoEtcd } from "../support/etcd.ts";
import { ServedNode, rfaas } from "../support/executable.ts";
import { RunningManager } from "../support/manager.ts";
import { ownAddress } from "../support/own-address.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

const LIMIT_MS = 120_000;
const DAY_MS = 86_400_000;
const HOST = ownAddress();
const why =
  HOST === undefined ? "this machine has no address but loopback" : (whyNoEtcd() ?? undefined);
if (why !== undefined) console.warn(`skipped: ${why}`);

const SOURCE = `import { Type, defineFunction } from "rfaas/function";
export const double = defineFunction({ input: Type.Number(), output: Type.Number() }, (n) => 2 * n);`;

const isMade = (name: string): boolean => name.endsWith(".made");

/** An etcd with a certificate, and the file of the CA that has issued it. */
async function secureEtcd(scratch: Scratch): Promise<{ etcd: RunningEtcd; ca: string }> {
  const authority = await certificateAuthority({ commonName: "site", validMs: DAY_MS });
  const { key, request } = await signingRequest("etcd");
  const subject = { commonName: "etcd", uri: "uri:etcd", hosts: ["127.0.0.1"], validMs: DAY_MS };
  const chain = await issue(authority, request, subject);
  const ca = scratch.file("site-ca.pem", authority.chain);
  const files = [scratch.file("etcd.pem", chain), scratch.file("etcd-key.pem", key)];
  const args = [`--cert-file=${files[0]}`, `--key-file=${files[1]}`];
  return { etcd: await RunningEtcd.start(scratch.join("etcd"), args), ca };
}

test.skipIf(why !== undefined)(
  "tokens, certificates and join tokens of one manager count at the one that takes over, once the keys are copied",
  async () => {
    using scratch = new Scratch();
    await using owned = new AsyncDisposableStack();
    const { etcd, ca } = await secureEtcd(scratch);
    owned.use(etcd);
    const password = "a long password";
    await etcd.protect("rfaas", password, "/rfaas/");
    const args = [
      ...["--http", `${HOST}:0`, "--registry", `etcd://rfaas@${etcd.address}`],
      ...["--registry-ca", ca, "--registry-password-file", scratch.file("password", password)],
    ];
    Bun.spawnSync(["chmod", "600", scratch.join("password")]);
    const at = async (name: string): Promise<RunningManager> =>
      owned.use(await RunningManager.start(scratch.join(name), args, HOST));
    const state = join(scratch.join("a"), "state");
    const made = async (...more: string[]): Promise<string> =>
      (await rfaas([...more, "--state", state])).stdout.trim();
    const token = await made("token", "create", "--user", "ada", "--scope", "client,read");
    const first = await at("a");
    await until(() => first.stderr.includes("leads from now on"), "the first one leads");

    const second = await at("b");
    await until(() => second.stderr.includes("does not take over"), "it lacks keys");
    expect(second.stderr).toContain("Copy ca-key.pem and token-key.pem from the other's state");
    await second.end("SIGTERM");
    for (const file of ["ca-key.pem", "token-key.pem"])
      copyFileSync(join(first.state, file), join(second.state, file));
    await second.restart();
    await until(() => second.stderr.includes("stands by: "), "it stands by");
    expect(second.ca).toBe(first.ca);

    const joinToken = async () =>
      JSON.parse(await made("node", "join-token", "--json")) as {
        manager: string;
        joinToken: string;
      };
    await until(
      () => readFileSync(join(state, "manager-address"), "utf8").includes(","),
      "both are told to nodes",
    );
    const { manager, joinToken: used } = await joinToken();
    const named = [first, second].map(({ address }) => `rfaas://${address}?ca=${first.ca}`);
    expect(manager.split(",").toSorted()).toEqual(named.toSorted());
    const serve = (name: string, secret: string): string[] => [
      ...["--name", name, "--state", scratch.join(`of-${name}`), "--cores", "1", "--prewarm", "0"],
      ...["--manager", manager, "--join", secret],
    ];
    const node = owned.use(await ServedNode.start(`${HOST}:0`, serve("n1", used)));
    await until(() => node.stderr.includes("knows this node"), "n1 is known");
    const module = scratch.file("double.ts", SOURCE);
    const call = async (): Promise<string> => {
      const env = { RFAAS_TOKEN: token, RFAAS_MANAGER: manager };
      const args = ["invoke", `${module}#double`, "--json", "21"];
      return (await rfaas(args, { env, limitMs: 60_000 })).stdout;
    };
    expect(await call()).toBe("42\n");
    const { joinToken: kept } = await joinToken();
    await until(
      () => readdirSync(join(second.state, "join-tokens")).filter(isMade).length === 2,
      "the second one knows both tokens",
    );

    await first.kill();
    await until(() => second.stderr.includes("leads from now on"), "the second one leads");
    expect(await call()).toBe("42\n");
    const again = await rfaas(["serve", "--listen", `${HOST}:0`, ...serve("n2", used)]);
    expect(again.stderr).toContain("the join token was used by the node n1");
    const late = owned.use(await ServedNode.start(`${HOST}:0`, serve("n2", kept)));
    await until(() => late.stderr.includes("knows this node"), "n2 is known");
    await until(() => node.stderr.split("knows this node").length > 2, "n1 has followed");
    // Nothing of what is secret is in etcd.
    const files = await new Response(
      Bun.spawn(["grep", "-rlE", "PRIVATE KEY|eyJhbGciOi", scratch.join("etcd")]).stdout,
    ).text();
    expect(files).toBe("");
  },
  LIMIT_MS,
);
