/** The list of what is inside of the executable, for those who must know it: CycloneDX, as `npm sbom` makes it, with Bun. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Artefact } from "./artefact.ts";

const ROOT = join(import.meta.dir, "..", "..");

interface Bom {
  serialNumber?: string;
  metadata: { timestamp: string; tools: object[]; component: Component };
  components: Component[];
  dependencies: { ref: string; dependsOn: string[] }[];
}

interface Component {
  "bom-ref": string;
  type: string;
  name: string;
  version: string;
  purl: string;
  properties?: object[];
  [more: string]: unknown;
}

export const sbom: Artefact = {
  name: "sbom",
  async make({ version, out, epochS }) {
    const bom = ofDependencies();
    // No number of its own, time or tool: the same commit gives the same bytes, on any machine and in any folder.
    delete bom.serialNumber;
    const { component } = bom.metadata;
    Object.assign(component, { type: "application", name: "rfaas", properties: [] });
    bom.metadata = { timestamp: new Date(1000 * epochS).toISOString(), tools: [], component };
    bom.components.push(bun());
    bom.dependencies.find(({ ref }) => ref === component["bom-ref"])!.dependsOn.push(BUN);
    bom.dependencies.push({ ref: BUN, dependsOn: [] });
    const file = `rfaas-${version}.cdx.json`;
    writeFileSync(join(out, file), `${JSON.stringify(bom, null, 2)}\n`);
    return [file];
  },
};

/** What is optional has native code, and stays outside of the executable. */
function ofDependencies(): Bom {
  const options = ["--sbom-format=cyclonedx", "--omit=dev", "--omit=optional"];
  const { success, stdout, stderr } = Bun.spawnSync(["npm", "sbom", ...options], { cwd: ROOT });
  if (!success) throw new Error(`npm sbom failed:\n${stderr.toString()}`);
  return JSON.parse(stdout.toString()) as Bom;
}

const BUN = `bun@${Bun.version}`;

/** Its npm package is a dependency of the build only, but its executable is the larger part of ours. */
function bun(): Component {
  return {
    ...{ "bom-ref": BUN, type: "platform", name: "bun", version: Bun.version, scope: "required" },
    description: "JavaScript runtime, with what it links statically",
    purl: `pkg:npm/${BUN}`,
    licenses: [{ license: { id: "MIT" } }],
    externalReferences: [{ type: "license", url: "https://bun.com/docs/project/licensing" }],
  };
}
