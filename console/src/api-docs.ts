// The API's description for people: Swagger UI over our own /openapi.json, bundled, so that it works without a network.

import "swagger-ui-dist/swagger-ui.css";
import SwaggerUIBundle from "swagger-ui-dist/swagger-ui-es-bundle.js";

SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  // Its validator badge would ask another host.
  validatorUrl: null,
});
