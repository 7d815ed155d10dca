/** The options of the package that a module becomes. */
import { type Static, Type } from "@sinclair/typebox";
import { texts } from "../options/fields.ts";

export const PackageOptions = Type.Object(
  {
    /** Files that the package has beside its code, from the module's folder: paths, folders or globs. */
    include: Type.Optional(
      texts("a path, a folder or a glob", {
        description: "files to bring along, from the module's folder: paths, folders, globs",
        flag: true,
        placeholder: "pattern",
      }),
    ),
    /** npm packages that are not bundled but brought along; those with native code are found without being named. */
    external: Type.Optional(
      texts("the name of an npm package", {
        description:
          "npm packages to bring along whole; those that look for their own files are found",
        flag: true,
        placeholder: "name",
      }),
    ),
  },
  { title: "A package of a module" },
);
export type PackageOptions = Static<typeof PackageOptions>;
