/**
 * A room by Docker: a container that its service makes, without network, capabilities and programs of its own beside the host. The service
 * passes no descriptors on: the host is handed them (`containers/handed.ts`). `docker run` stays as long as the container does.
 */
import type { Finding } from "../../../base/finding.ts";
import { childEnvironment } from "../../../base/process.ts";
import { startHanded } from "../containers/engine-host.ts";
import { whyNotInFile, writeEnvironment } from "../containers/environment.ts";
import { containerGuards } from "../containers/guards.ts";
import { inOurs } from "../containers/inside.ts";
import { lackIfFails, lackOf, lastLineOf } from "../containers/lack.ts";
import { NOT_MADE, explainEngine } from "../containers/options.ts";
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
  inMemory: ({ scratch }) => [scratch, "/tmp", "/dev", "/dev/shm"],
  whyNot,
  whyNotPassed: whyNotInFile,
  guards: () => containerGuards("container"),
  explain: explainEngine("Docker", "docker", EMPTY_IMAGE),
  start,
} as const satisfies SandboxDriver;

function start(host: HostStart): StartedHost {
  const program = Bun.which("docker")!;
  if (host.terms.image === undefined) makeEmptyImage(program);
  const onExit: HostStart["onExit"] = (exit) => {
    if (exit.exitCode === NOT_MADE && host.terms.image === undefined) hasEmptyImage = false;
    host.onExit(exit);
  };
  writeEnvironment(host);
  const user = `${process.getuid!()}:${process.getgid!()}`;
  return startHanded({ ...host, onExit }, (handed, name) => ({
    line: dockerLine(program, name, user, handed),
    environment: childEnvironment(),
    remove: [program, "rm", "--force", name],
  }));
}

let hasEmptyImage = false;

/** At the first host of a node, and where Docker may have lost it since: it has no container without an image. */
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

function whyNot(): Finding | undefined {
  const name = "docker";
  const program = Bun.which("docker");
  if (program === null)
    return lackOf({
      ...{ name, found: "Docker is not installed" },
      fix: "apt-get install docker.io",
    });
  return lackIfFails([program, "version", "--format", "{{.Server.Version}}"], {
    ...{ name, found: "Docker's service does not answer", fix: "docker version" },
  });
}
