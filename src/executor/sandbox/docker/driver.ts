/**
 * A room by Docker: a container that its service makes, without network, capabilities and programs of its own beside the host. The service
 * passes no descriptors on: the host is handed them (`containers/handed.ts`). `docker run` stays as long as the container does.
 */
import type { Finding } from "../../../base/finding.ts";
import { startHanded } from "../containers/engine-host.ts";
import { containerGuards } from "../containers/guards.ts";
import { inOurs } from "../containers/inside.ts";
import { explainEngine } from "../containers/options.ts";
import type { HostStart, SandboxDriver, StartedHost } from "../driver.ts";
import { EMPTY_IMAGE, dockerLine } from "./line.ts";

export const docker = {
  name: "docker",
  rooms: true,
  ownNetwork: true,
  seals: true,
  users: true,
  images: "names",
  inside: inOurs,
  whyNot,
  guards: () => containerGuards("container"),
  explain: explainEngine("Docker", "docker"),
  start,
} as const satisfies SandboxDriver;

function start(host: HostStart): StartedHost {
  const program = Bun.which("docker")!;
  if (host.terms.image === undefined) makeEmptyImage(program);
  const user = `${process.getuid!()}:${process.getgid!()}`;
  return startHanded(host, (handed, name) => ({
    line: dockerLine(program, name, user, handed),
    remove: [program, "rm", "--force", name],
  }));
}

let hasEmptyImage = false;

/** Once for a node, at its first host: Docker has no container without an image. */
function makeEmptyImage(program: string): void {
  hasEmptyImage ||= run([program, "image", "inspect", EMPTY_IMAGE]).exitCode === 0;
  if (hasEmptyImage) return;
  const { exitCode, stderr } = run([program, "import", "-", EMPTY_IMAGE], EMPTY_ARCHIVE);
  if (exitCode !== 0)
    throw new Error(`Docker takes no image (${lastLineOf(stderr)}); see: docker import`);
  hasEmptyImage = true;
}

/** Of `tar`: its end. */
const EMPTY_ARCHIVE = new Uint8Array(1024);

const run = (command: string[], stdin: Uint8Array | "ignore" = "ignore") =>
  Bun.spawnSync(command, { stdio: [stdin, "ignore", "pipe"] });

const lastLineOf = (said: Uint8Array): string =>
  new TextDecoder().decode(said).trim().split("\n").at(-1)!;

function whyNot(): Finding | undefined {
  const lacks = (found: string, fix: string): Finding => ({
    ...{ name: "docker", state: "off" },
    ...{ found, fix },
  });
  const program = Bun.which("docker");
  if (program === null) return lacks("Docker is not installed", "apt-get install docker.io");
  const { exitCode, stderr } = run([program, "version", "--format", "{{.Server.Version}}"]);
  return exitCode === 0
    ? undefined
    : lacks(`Docker's service does not answer (${lastLineOf(stderr)})`, "docker version");
}
