package demo

var (
	firstNames   = []string{"Aino", "Bo", "Chidi", "Dara", "Elif", "Farid", "Greta", "Hana", "Ines", "Jonas", "Kaveh", "Linh", "Mira", "Nils", "Oona", "Priya"}
	lastNames    = []string{"Almeida", "Berg", "Costa", "Dubois", "Eriksen", "Fischer", "Guarnieri", "Haddad", "Ito", "Järvinen", "Kowalska", "Larsen", "Müller", "Novák", "Okafor", "Peña"}
	streets      = []string{"Harbour Street", "Mill Lane", "Station Road", "Kirkkokatu", "Rue du Port", "Lindenallee", "Via Roma", "Calle Mayor"}
	cities       = []string{"Turku", "Aarhus", "Lyon", "Porto", "Graz", "Gdańsk", "Leeds", "Malmö"}
	phoneKinds   = []string{"mobile", "home", "work"}
	addressKinds = []string{"home", "invoice", "delivery"}
)
