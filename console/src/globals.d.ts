/// <reference types="vite/client" />
/// <reference types="geojson" />

declare module "swagger-ui-dist/swagger-ui-es-bundle.js" {
  interface Options {
    url: string;
    dom_id: string;
    deepLinking: boolean;
    validatorUrl: null;
  }
  export default function SwaggerUIBundle(options: Options): void;
}
