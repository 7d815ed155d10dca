declare module "*/dist/kit.json.zst" {
  const path: string;
  export default path;
}
