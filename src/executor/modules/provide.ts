/** Lets the modules of a thread import what this program has of its own, by names that no package need be installed for. */
import { plugin } from "bun";

/**
 * Each name's exports are made when a module first imports or requires it. A name that is provided wins over an installed package.
 * Every thread must ask for itself.
 */
export function provide(title: string, modules: Readonly<Record<string, () => object>>): void {
  plugin({
    name: title,
    setup(build) {
      // What loads synchronously can be required, too; the loader wants a plain object.
      for (const [name, load] of Object.entries(modules))
        build.module(name, () => ({ exports: { ...load() }, loader: "object" }));
    },
  });
}
